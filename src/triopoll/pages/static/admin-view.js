// Tables, lists and plots of the admin page, as DOM nodes: nothing is ever parsed as HTML.

import { element } from "./backend.js";

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 240;
const HEIGHT = 48;

/** Show what a reader could not see, or what changes the order of the text around it. */
export const escaped = (text) =>
  String(text).replace(
    /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu,
    (char) => `\\u{${char.codePointAt(0).toString(16)}}`,
  );

export const seconds = (number) =>
  number < 0.1 ? `${(number * 1000).toFixed(1)} ms` : `${number.toFixed(1)} s`;

export const since = (unix) =>
  unix === null ? "none seen" : new Date(unix * 1000).toLocaleString();

const make = (name, text) => {
  const node = document.createElement(name);
  if (text !== undefined) node.textContent = text;
  return node;
};

/**
 * Show rows of cells. What is there is changed in place, so the keyboard's focus stays.
 * With `choose`, the first cell is a button that calls it with the name.
 */
export function table(id, caption, columns, rows, choose) {
  const place = element(id);
  place.hidden = rows.length === 0;
  const whole = place.firstChild ?? place.appendChild(frame(columns));
  setText(whole.caption, caption);
  const body = whole.tBodies[0];
  while (body.rows.length > rows.length) body.deleteRow(-1);
  rows.forEach((cells, at) => {
    const row = body.rows[at] ?? emptyRow(body, columns.length, choose);
    cells.forEach((cell, column) => setCell(row.cells[column], cell));
  });
}

function frame(columns) {
  const whole = make("table");
  whole.append(make("caption"), make("thead"), make("tbody"));
  const head = whole.tHead.insertRow();
  for (const name of columns) {
    const cell = make("th", name);
    cell.scope = "col";
    head.append(cell);
  }
  return whole;
}

function emptyRow(body, columns, choose) {
  const row = body.insertRow();
  for (let column = 0; column < columns; column++) {
    const isButton = choose && column === 0;
    const inner = make(isButton ? "button" : "bdi");
    if (isButton) {
      inner.type = "button";
      inner.className = "name";
      inner.onclick = () => choose(inner.value);
    }
    row.insertCell().append(inner);
  }
  return row;
}

function setCell(cell, value) {
  const inner = cell.firstChild;
  if (inner.value !== undefined) inner.value = value;
  setText(inner, escaped(value));
}

/** Show names and values; those without a value are left out. */
export function facts(id, values) {
  const given = Object.entries(values).filter(([, value]) => value);
  const nodes = given.map(([name, value]) => {
    const pair = make("div");
    const inner = make("dd");
    inner.append(make("bdi", escaped(value)));
    pair.append(make("dt", name), inner);
    return pair;
  });
  element(id).replaceChildren(...nodes);
}

/** Draw each row of numbers as a line, from the oldest on the left to now. */
export function plots(id, rates, period) {
  const place = element(id);
  for (const [name, numbers] of Object.entries(rates)) {
    let figure = place.querySelector(`[data-name="${CSS.escape(name)}"]`);
    if (!figure) {
      figure = emptyPlot(name);
      place.append(figure);
    }
    const highest = Math.max(...numbers, 0);
    const unit = name === "parked" ? "waits" : "a second";
    const last = numbers.at(-1) ?? 0;
    const time = numbers.length * period;
    const span = time < 120 ? `${time} s` : `${Math.round(time / 60)} min`;
    setText(
      figure.querySelector("figcaption"),
      `${name}: ${last} ${unit}, at most ${highest} in ${span}`,
    );
    figure.querySelector("polyline").setAttribute("points", points(numbers, highest));
  }
}

function emptyPlot(name) {
  const figure = make("figure");
  figure.dataset.name = name;
  const picture = document.createElementNS(SVG, "svg");
  picture.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
  // The caption says the numbers.
  picture.setAttribute("aria-hidden", "true");
  picture.append(document.createElementNS(SVG, "polyline"));
  figure.append(picture, make("figcaption"));
  return figure;
}

function points(numbers, highest) {
  const step = WIDTH / Math.max(numbers.length - 1, 1);
  const scale = (HEIGHT - 2) / (highest || 1);
  return numbers
    .map((number, at) => `${(at * step).toFixed(1)},${(HEIGHT - 1 - number * scale).toFixed(1)}`)
    .join(" ");
}

function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}
