/** Messages: order, cursors, gaps, duplicates, several keys, slow consumers. */

import assert from "node:assert/strict";
import { before, test } from "node:test";

import { collect, connect, FaultProxy, LIMIT, Server, until } from "./support.js";

const MAX_KEPT = 1100;
let server;
before(async () => {
  server = await Server.start({ log_max_messages: MAX_KEPT });
});

const options = { timeout: LIMIT };

test("messages arrive in order, with their key, by iterator", options, async (t) => {
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

test("several keys share one request", options, async (t) => {
  const proxy = await FaultProxy.start(server);
  const push = connect(t, proxy.url);
  const seen = collect(t, push, ["left", "right"]);
  await until(() => proxy.waits().length === 1, "parked");
  await server.publish("left", 1);
  await until(() => seen.messages.length === 1);
  await server.publish("right", 2);
  await until(() => seen.messages.length === 2);
  const pairs = seen.messages.map(({ key, data }) => [key, data]);
  assert.deepEqual(pairs, [["left", 1], ["right", 2]]);
  assert.equal(proxy.maxOpen, 1);
});

test("more keys than one request may have are all served", options, async (t) => {
  const push = connect(t, server.url);
  const keys = Array.from({ length: 60 }, (_, n) => `many.${n}`);
  for (const key of keys) await server.publish(key, key);
  const seen = collect(t, push, keys, { cursor: "all" });
  await until(() => seen.messages.length === keys.length);
  await server.publish("many.59", "again");
  await until(() => seen.data().includes("again"));
  assert.deepEqual(new Set(seen.data()), new Set([...keys, "again"]));
});

test("two subscriptions of a key have cursors of their own", options, async (t) => {
  const push = connect(t, server.url);
  await server.publish("twice", 1);
  const late = collect(t, push, "twice");
  const early = collect(t, push, "twice", { cursor: "all" });
  await until(() => early.messages.length === 1);
  await server.publish("twice", 2);
  await until(() => early.messages.length === 2 && late.messages.length === 1);
  assert.deepEqual([early.data(), late.data()], [[1, 2], [2]]);
});

test("connections that are cut lose nothing and repeat nothing", options, async (t) => {
  const proxy = await FaultProxy.start(server);
  const push = connect(t, proxy.url);
  const seen = collect(t, push, "cut");
  await until(() => proxy.waits().length === 1, "parked");
  const sent = Array.from({ length: 12 }, (_, n) => n);
  for (const n of sent) {
    if (n % 3 === 0) proxy.cut();
    await server.publish("cut", n);
  }
  await until(() => seen.messages.length >= sent.length);
  assert.deepEqual(seen.data(), sent);
});

test("a message that is answered twice is delivered once", options, async (t) => {
  const proxy = await FaultProxy.start(server);
  let cursor = 0;
  const answer = (ids) => {
    const messages = ids.map((id) => ({ id, data: id, ts: 1 }));
    const item = { type: "message", key: "replayed", ready: true, messages, cursor: `c${cursor++}` };
    return { status: 200, body: JSON.stringify({ items: [item], retry_ms: 0, wait: 20 }) };
  };
  const answers = [answer(["a", "b"]), answer(["a", "b"]), answer(["b", "c"])];
  proxy.fault = () => answers.shift();
  const seen = collect(t, connect(t, proxy.url), "replayed", { cursor: "all" });
  await until(() => seen.messages.length >= 3 && !answers.length);
  assert.deepEqual(seen.data(), ["a", "b", "c"]);
});

test("missing messages are reported as a gap, before what follows", options, async (t) => {
  const push = connect(t, server.url);
  const { items } = await server.publish("gap", "first");
  const batch = (n) =>
    server.post("/v1/publish", { items: Array.from({ length: n }, () => ({ key: "gap", data: 0 })) });
  for (let sent = 0; sent < MAX_KEPT + 100; sent += 100) await batch(100);
  const events = [];
  push.addEventListener("gap", ({ detail }) => events.push(detail));
  const seen = collect(t, push, "gap", { cursor: items[0].id });
  await until(() => seen.messages.length);
  assert.deepEqual(seen.gaps.map(({ key, lost }) => [key, lost]), [["gap", 100]]);
  assert.deepEqual(events, seen.gaps);
});

test("a stored cursor that is none starts again, with a gap", options, async (t) => {
  const storage = memoryStorage();
  storage.setItem(`triopoll ${server.url} stale`, "nonsense");
  await server.publish("stale", 1);
  const push = connect(t, server.url, { storage });
  const seen = collect(t, push, ["stale", "other"]);
  await until(() => seen.messages.length);
  assert.deepEqual(seen.data(), [1]);
  assert.deepEqual(seen.gaps.map(({ key, lost }) => [key, lost]), [["stale", null]]);
});

test("a server that lost its messages is reported as a gap", options, async (t) => {
  const mortal = await Server.start();
  const seen = collect(t, connect(t, mortal.url), "mortal", { cursor: "all" });
  await mortal.publish("mortal", 1);
  await until(() => seen.messages.length === 1);
  await mortal.kill();
  await mortal.run();
  await mortal.publish("mortal", 2);
  await until(() => seen.messages.length === 2);
  assert.deepEqual(seen.data(), [1, 2]);
  assert.deepEqual(seen.gaps.map(({ lost }) => lost), [null]);
  assert.ok(seen.states.some(([state]) => state === "retrying"));
  assert.equal(seen.states.at(-1)[0], "connected");
});

test("a reloaded page continues after the last message that it has dealt with", options, async (t) => {
  const storage = memoryStorage();
  for (const n of [1, 2, 3]) await server.publish("reload", n);
  const first = connect(t, server.url, { storage });
  for await (const { data } of first.messages("reload", { cursor: "all" })) {
    if (data === 3) break; // in the middle of 3: it comes again
  }
  first.close();
  await server.publish("reload", 4);
  const seen = collect(t, connect(t, server.url, { storage }), "reload");
  await until(() => seen.messages.length >= 2);
  assert.deepEqual(seen.data(), [3, 4]);
});

test("a page that is reloaded before the first message misses nothing", options, async (t) => {
  const storage = memoryStorage();
  const first = connect(t, server.url, { storage });
  collect(t, first, "quiet");
  await until(() => storage.size);
  first.close();
  await server.publish("quiet", 1);
  const seen = collect(t, connect(t, server.url, { storage }), "quiet");
  await until(() => seen.messages.length);
  assert.deepEqual(seen.data(), [1]);
});

test("a slow consumer holds up neither the others nor the memory", options, async (t) => {
  const total = 3000;
  const batches = Array.from({ length: total / 100 }, (_, n) => n);
  const send = (n) => {
    const items = Array.from({ length: 100 }, (_, m) => ({ key: "slow", data: n * 100 + m }));
    return server.post("/v1/publish", { items });
  };
  const proxy = await FaultProxy.start(server);
  const push = connect(t, proxy.url);
  const fast = collect(t, push, "slow");
  const slow = [];
  let release;
  const isReleased = new Promise((resolve) => (release = resolve));
  t.after(push.subscribe("slow", { message: ({ data }) => (slow.push(data), isReleased) }));
  await until(() => proxy.waits().length === 1, "parked");
  for (const n of batches) {
    await send(n);
    await until(() => fast.messages.length === (n + 1) * 100);
  }
  assert.equal(slow.length, 1);
  release();
  // What it did not read in time is gone from the server, and is reported as a gap.
  await until(() => slow.at(-1) === total - 1);
  assert.deepEqual(slow, [...new Set(slow)].sort((a, b) => a - b));
  assert.ok(slow.length < total);
});

test("what is stopped, aborted or closed asks no more", options, async (t) => {
  const proxy = await FaultProxy.start(server);
  const push = connect(t, proxy.url);
  const stopped = collect(t, push, "stopped");
  const controller = new AbortController();
  const aborted = push.messages("stopped", { signal: controller.signal }).next();
  const event = push.event("stopped");
  await until(() => proxy.waits().length === 1, "parked");
  stopped.stop();
  controller.abort(new Error("mine"));
  await assert.rejects(aborted, /mine/);
  push.close();
  await assert.rejects(event, { name: "AbortError" });
  await until(() => !proxy.waits().length, "no request is open");
  assert.deepEqual(stopped.errors, []);
  const already = push.messages("stopped", { signal: AbortSignal.abort(new Error("before")) });
  await assert.rejects(already.next(), /before/);
});

/** A Storage of this process. */
function memoryStorage() {
  const map = new Map();
  return {
    getItem: (name) => map.get(name) ?? null,
    setItem: (name, value) => map.set(name, value),
    get size() {
      return map.size;
    },
  };
}
