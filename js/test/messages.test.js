import assert from "node:assert/strict";
import { before, test } from "node:test";

import { Triopoll, TriopollError } from "../triopoll.js";
import { FaultProxy, LIMIT, Server, sleep, ticketFor, until } from "./support.js";

let server;
before(async () => {
  server = await Server.start();
});

/** A client that is closed with its test. */
function connect(t, url, options = {}) {
  const push = new Triopoll({ url, ...options });
  t.after(() => push.close());
  return push;
}

/** Subscribe, and collect what is delivered. */
function collect(t, push, keys, options) {
  const seen = { messages: [], gaps: [], errors: [], states: [] };
  const stop = push.subscribe(
    keys,
    {
      message: (message) => seen.messages.push(message),
      gap: (gap) => seen.gaps.push(gap),
      error: (error) => seen.errors.push(error),
      state: (state, error) => seen.states.push([state, error?.status]),
    },
    options,
  );
  t.after(stop);
  seen.data = () => seen.messages.map(({ data }) => data);
  seen.stop = stop;
  return seen;
}

test("messages arrive in order, with their key, by iterator", { timeout: LIMIT }, async (t) => {
  const push = connect(t, server.url);
  await server.publish("iterated", { n: 1 });
  await server.publish("iterated", "two");
  const seen = [];
  for await (const message of push.messages("iterated", { cursor: "all" })) {
    seen.push(message);
    if (seen.length === 2) await server.publish("iterated", [3]);
    if (seen.length === 3) break;
  }
  assert.deepEqual(seen.map(({ data }) => data), [{ n: 1 }, "two", [3]]);
  assert.ok(seen.every(({ key, id, ts }) => key === "iterated" && id && ts));
});

test("several keys share one request", { timeout: LIMIT }, async (t) => {
  const push = connect(t, server.url);
  const seen = collect(t, push, ["left", "right"]);
  await until(async () => (await server.parked()) > 0);
  await server.publish("left", 1);
  await until(() => seen.messages.length === 1);
  await server.publish("right", 2);
  await until(() => seen.messages.length === 2);
  assert.deepEqual(seen.messages.map(({ key, data }) => [key, data]), [["left", 1], ["right", 2]]);
});
