/** States: every change is seen once, the final one always. */

import assert from "node:assert/strict";
import { before, test } from "node:test";

import { TriopollError } from "../triopoll.js";
import { connect, FaultProxy, LIMIT, Server, sleep, until } from "./support.js";

const options = { timeout: LIMIT };
let server;
before(async () => {
  server = await Server.start();
});

async function create(shape = {}) {
  const created = await server.post("/v1/states", shape);
  assert.equal(created.status, 201, JSON.stringify(created));
  return created;
}

const put = (key, shape) => server.post(`/v1/states/${key}`, shape, "PUT");

/** Follow a state, and collect what is returned. */
function follow(push, { key, poll_secret: secret }, given) {
  const seen = [];
  const done = (async () => {
    for await (const { state, data, final } of push.state(key, secret, given)) {
      seen.push([state, data ?? null, final]);
    }
  })();
  done.catch(() => {});
  return { seen, done };
}

test("each state is returned, and the final one ends the iteration", options, async (t) => {
  const created = await create({ data: { page: 1 } });
  const { seen, done } = follow(connect(t, server.url), created);
  await until(() => seen.length === 1);
  await put(created.key, { state: "scanned" });
  await until(() => seen.length === 2);
  await put(created.key, { state: "confirmed", data: { ticket: "t" }, final: true });
  await done;
  assert.deepEqual(seen.map(([state]) => state), ["pending", "scanned", "confirmed"]);
  assert.deepEqual(seen.at(-1), ["confirmed", { ticket: "t" }, true]);
});

test("a reload reads the final state again, until it is acknowledged", options, async (t) => {
  const created = await create();
  const { key, poll_secret: secret } = created;
  const { version } = await put(key, { state: "confirmed", data: 7, final: true });
  for (let reload = 0; reload < 2; reload++) {
    const push = connect(t, server.url);
    const { seen, done } = follow(push, created);
    await done;
    assert.deepEqual(seen, [["confirmed", 7, true]]);
  }
  const push = connect(t, server.url);
  await push.ack(key, secret, version);
  await assert.rejects(push.state(key, secret).next(), (error) => {
    return error instanceof TriopollError && error.status === 410;
  });
});

test("connections that are cut lose no state", options, async (t) => {
  const created = await create();
  const proxy = await FaultProxy.start(server);
  const { seen, done } = follow(connect(t, proxy.url), created);
  await until(() => seen.length === 1);
  proxy.fault = () => ({ refuse: true });
  proxy.cut();
  await put(created.key, { state: "scanned" });
  await sleep(1000);
  await put(created.key, { state: "confirmed", final: true });
  proxy.fault = () => undefined;
  await done;
  assert.deepEqual(seen.at(-1), ["confirmed", null, true]);
});

test("an expired state is the last one", options, async (t) => {
  const created = await create({ ttl: 1 });
  const { seen, done } = follow(connect(t, server.url), created);
  await done;
  assert.deepEqual(seen.map(([state, , final]) => [state, final]), [["pending", false], ["expired", true]]);
});

test("an unknown key and a wrong secret are final, after one request", options, async (t) => {
  const created = await create();
  const proxy = await FaultProxy.start(server);
  const push = connect(t, proxy.url);
  const none = "A".repeat(22);
  for (const [key, secret] of [[created.key, none], [none, created.poll_secret]]) {
    await assert.rejects(push.state(key, secret).next(), { status: 404, code: "unknown" });
  }
  assert.equal(proxy.requests.length, 2);
});

test("the secret is in no URL, and no ticket is asked for", options, async (t) => {
  const created = await create();
  const proxy = await FaultProxy.start(server);
  const ticket = () => assert.fail("a ticket was asked for");
  const { seen, done } = follow(connect(t, proxy.url, { ticket }), created);
  await until(() => seen.length === 1);
  await put(created.key, { state: "rejected", final: true });
  await done;
  assert.ok(proxy.requests.every(({ path }) => !path.includes(created.poll_secret)));
});

test("the numbers to compare are returned with the state", options, async (t) => {
  const created = await create({ match: true });
  const push = connect(t, server.url);
  const { value } = await push.state(created.key, created.poll_secret).next();
  assert.deepEqual(value.numbers, created.numbers);
});

test("an aborted state wait throws the reason of its signal", options, async (t) => {
  const created = await create();
  const controller = new AbortController();
  const { seen, done } = follow(connect(t, server.url), created, { signal: controller.signal });
  await until(() => seen.length === 1);
  controller.abort(new Error("left"));
  await assert.rejects(done, /left/);
});
