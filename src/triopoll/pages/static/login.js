// The page that shows the code. It waits for the states of its key up to the final one.

import { Triopoll } from "triopoll";
import { element, memory, post } from "./backend.js";

const TEXTS = {
  pending: "Waiting for a phone.",
  scanned: "The code was scanned. Confirm on the phone.",
  approved: "Confirmed on the phone.",
  confirmed: "Signed in.",
  rejected: "The login was rejected.",
  expired: "The code has expired.",
};

const push = new Triopoll();
const login = memory("login");

/** Get a key, or continue with that of before a reload. */
async function begin() {
  const known = login.load();
  if (known) return known;
  const created = await post("logins");
  login.save(created);
  return created;
}

function show({ state, data, final, numbers }) {
  document.body.dataset.state = state;
  const user = state === "confirmed" ? ` You are ${data.user}.` : "";
  element("status").textContent = TEXTS[state] + user;
  element("code").hidden = state !== "pending";
  element("match").hidden = state !== "approved";
  element("again").hidden = !final;
  if (state === "approved") offer(numbers);
}

/** The three numbers. The phone shows the right one. */
function offer(numbers) {
  const buttons = numbers.map((number) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = number;
    button.onclick = () => choose(number);
    return button;
  });
  element("numbers").replaceChildren(...buttons);
}

async function choose(choice) {
  for (const button of element("numbers").children) button.disabled = true;
  const { key, poll_secret } = login.load();
  try {
    // The next state says what came of it.
    await post(`logins/${key}/choose`, { choice, poll_secret });
  } catch (error) {
    element("error").textContent = error.message;
    for (const button of element("numbers").children) button.disabled = false;
  }
}

async function run() {
  const { key, poll_secret, result } = await begin();
  if (result) return show(result);
  element("qr").src = `logins/${key}/qr.svg`;
  // The key stands behind the #, so it is in no log of a server.
  element("phone").href = `phone#${key}`;
  for await (const state of push.state(key, poll_secret)) {
    show(state);
    if (state.final) {
      // Kept first, then deleted at the server: a reload between the two asks again.
      login.save({ key, poll_secret, result: state });
      await push.ack(key, poll_secret, state.version);
    }
  }
}

async function start() {
  element("error").textContent = "";
  try {
    await run();
  } catch (error) {
    // 404 or 410: the key is too old, or was acknowledged by a page before this one.
    element("status").textContent = "The login has ended.";
    element("error").textContent = error.message;
    element("code").hidden = element("match").hidden = true;
    element("again").hidden = false;
  }
}

element("again").onclick = () => {
  login.clear();
  element("again").hidden = true;
  start();
};
start();
