/** What is repeated, when, and what is final. */

import assert from "node:assert/strict";
import { before, describe, test } from "node:test";

import { TriopollError } from "../triopoll.js";
import { collect, connect, FaultProxy, LIMIT, Server, sleep, ticketFor, until } from "./support.js";

const options = { timeout: LIMIT };
let open;
let guarded;
before(async () => {
  [open, guarded] = await Promise.all([
    Server.start(),
    Server.start({ ticket_secrets: ticketFor.secret }),
  ]);
});

/** The seconds between the requests that a proxy has seen. */
function pauses({ requests }) {
  return requests.slice(1).map(({ at }, index) => (at - requests[index].at) / 1000);
}

function json(status, shape, headers = {}) {
  return { status, headers, body: JSON.stringify(shape) };
}

test("delays are random, double up to 30 s, and begin below a second", options, async (t) => {
  // Timers run at once here; what they were set to is the claim.
  const delays = [];
  const { setTimeout } = globalThis;
  const { fetch } = globalThis;
  t.after(() => Object.assign(globalThis, { setTimeout, fetch }));
  const push = connect(t, "http://retries.invalid");
  globalThis.fetch = async (...args) => {
    if (!String(args[0]).startsWith("http://retries.invalid")) return fetch(...args);
    throw new TypeError("refused");
  };
  globalThis.setTimeout = (action, ms = 0) => {
    if (!String(action).includes("native code")) return setTimeout(action, ms);
    delays.push(ms / 1000);
    return setTimeout(action, 0);
  };
  collect(t, push, "delays");
  while (delays.length < 12) await new Promise(setImmediate);
  push.close();
  assert.ok(delays[0] < 1, `${delays}`);
  delays.slice(1, 12).forEach((delay, index) => {
    const limit = Math.min(30, 2 ** (index + 1));
    assert.ok(delay >= limit / 2 && delay <= limit, `${delays}`);
  });
  assert.equal(new Set(delays.slice(6, 12)).size, 6);
});

// They wait more than they work.
describe("faults", { concurrency: true }, () => {
  test("an outage of 5 s sees at most 5 requests of each client, then all is received", options, async (t) => {
    const clients = [];
    for (let n = 0; n < 8; n++) {
      const proxy = await FaultProxy.start(open);
      clients.push({ proxy, seen: collect(t, connect(t, proxy.url), "outage") });
    }
    await until(() => clients.every(({ proxy }) => proxy.waits().length === 1), "parked");
    for (const { proxy } of clients) {
      proxy.requests = [];
      proxy.fault = () => ({ refuse: true });
      proxy.cut();
    }
    await sleep(5000);
    const counts = clients.map(({ proxy }) => proxy.requests.length);
    assert.ok(Math.max(...counts) <= 5, `${counts}`);
    assert.ok(Math.min(...counts) >= 2, `${counts}`);
    await open.publish("outage", "sent meanwhile");
    for (const { proxy } of clients) proxy.fault = () => undefined;
    await until(() => clients.every(({ seen }) => seen.messages.length === 1));
    for (const { seen } of clients) {
      assert.deepEqual(seen.states.map(([state]) => state), ["connected", "retrying", "connected"]);
      assert.deepEqual(seen.errors, []);
    }
  });

  test("an empty answer that comes far too early is not asked for again at once", options, async (t) => {
    const proxy = await FaultProxy.start(open);
    const item = { type: "message", key: "early", ready: false, messages: [], cursor: "c" };
    proxy.fault = () => json(200, { items: [item], retry_ms: 0, wait: 25 });
    collect(t, connect(t, proxy.url), "early", { cursor: "c" });
    await until(() => proxy.requests.length >= 3);
    assert.ok(pauses(proxy)[1] >= 1, `${pauses(proxy)}`);
  });

  test("an expired ticket is renewed once for all requests, and nothing is missed", options, async (t) => {
    let calls = 0;
    const ticket = async () => ticketFor(["expiring.*", "list"], { lifetime: calls++ ? 900 : 2 });
    const push = connect(t, guarded.url, { ticket });
    const seen = collect(t, push, ["expiring.1", "expiring.2"]);
    const controller = new AbortController();
    const polled = push.poll("list", { signal: controller.signal }).next();
    await until(() => calls === 2, "renewed");
    await guarded.publish("expiring.1", 1);
    await until(() => seen.messages.length === 1);
    controller.abort();
    await assert.rejects(polled, { name: "AbortError" });
    assert.equal(calls, 2);
    assert.deepEqual(seen.errors, []);
  });

  test("a second 401 is final", options, async (t) => {
    let calls = 0;
    const proxy = await FaultProxy.start(guarded);
    const push = connect(t, proxy.url, { ticket: () => `none ${calls++}` });
    const seen = collect(t, push, "refused");
    const error = await until(() => seen.errors[0]);
    assert.ok(error instanceof TriopollError);
    assert.deepEqual([error.status, error.code], [401, "ticket_invalid"]);
    assert.equal(calls, 2);
    await sleep(1500);
    assert.equal(proxy.requests.length, 2);
  });

  test("a ticket that cannot be fetched is fetched again later", options, async (t) => {
    let calls = 0;
    const ticket = () => {
      if (calls++ < 2) throw new Error("the application does not answer");
      return ticketFor(["fetched"]);
    };
    const seen = collect(t, connect(t, guarded.url, { ticket }), "fetched");
    await until(() => seen.states.at(-1)?.[0] === "connected");
    assert.deepEqual([calls, seen.errors], [3, []]);
  });

  test("403 ends the subscription that it is about, and no other", options, async (t) => {
    const proxy = await FaultProxy.start(guarded);
    const push = connect(t, proxy.url, { ticket: ticketFor(["mine"]) });
    const mine = collect(t, push, "mine");
    const other = collect(t, push, "other");
    const error = await until(() => other.errors[0]);
    assert.deepEqual([error.status, error.code], [403, "forbidden"]);
    await until(() => proxy.waits().length === 1, "parked");
    await guarded.publish("mine", 1);
    await until(() => mine.messages.length === 1);
    assert.deepEqual(mine.errors, []);
  });

  for (const [status, code] of [[403, "forbidden"], [404, "not_found"], [409, "replaced"]]) {
    test(`${status} is final`, options, async (t) => {
      const proxy = await FaultProxy.start(open);
      proxy.fault = () => json(status, { code, message: "why" });
      const seen = collect(t, connect(t, proxy.url), "final");
      const error = await until(() => seen.errors[0]);
      assert.deepEqual([error.status, error.code, error.message], [status, code, "why"]);
      await sleep(1500);
      assert.equal(proxy.requests.length, 1);
    });
  }

  for (const status of [400, 404, 408, 429, 500, 502, 503, 504]) {
    test(`${status} of a proxy, where the server has answered before, is not final`, options, async (t) => {
      const proxy = await FaultProxy.start(open);
      const key = `passing.${status}`;
      const seen = collect(t, connect(t, proxy.url), key);
      await until(() => proxy.waits().length === 1, "parked");
      let answered = 0;
      proxy.fault = () => (answered++ < 2 ? { status, body: "<html>" } : undefined);
      await open.publish(key, 0);
      await until(() => answered > 2);
      await open.publish(key, 1);
      await until(() => seen.messages.length === 2);
      assert.deepEqual(seen.errors, []);
      assert.ok(seen.states.some(([, of]) => of === status));
    });
  }

  test("a page of a portal in the place of an answer is repeated", options, async (t) => {
    const proxy = await FaultProxy.start(open);
    let answered = 0;
    proxy.fault = () => (answered++ < 2 ? { status: 200, body: answered > 1 ? "<html>" : "null" } : undefined);
    const seen = collect(t, connect(t, proxy.url), "portal");
    await until(() => proxy.waits().length === 1, "parked");
    await open.publish("portal", 1);
    await until(() => seen.messages.length === 1);
    assert.deepEqual(seen.errors, []);
  });

  test("polls that are cut become shorter where there is no websocket", options, async (t) => {
    const proxy = await FaultProxy.start(open);
    proxy.fault = ({ body }) => (JSON.parse(body).timeout > 1.5 ? { cutAfter: 1600 } : undefined);
    collect(t, connect(t, proxy.url, { transport: "poll" }), "short");
    const timeoutOf = ({ body }) => JSON.parse(body).timeout;
    const isShort = (request) => timeoutOf(request) > 1 && timeoutOf(request) < 1.5;
    await until(() => proxy.requests.filter(isShort).length >= 2);
  });

  test("an event resolves when it is set, and with false after its timeout", options, async (t) => {
    const push = connect(t, open.url);
    const paid = push.event("paid");
    assert.equal(await push.event("unpaid", { timeout: 0.2 }), false);
    await open.post("/v1/publish", { type: "event", key: "paid" });
    assert.equal(await paid, true);
    // It stays set: a page that is reloaded learns of it.
    assert.equal(await push.event("paid"), true);
  });

  test("the poll API is polled on, and its errors are those of /v1", options, async (t) => {
    const proxy = await FaultProxy.start(open);
    let answered = 0;
    proxy.fault = () => {
      answered++;
      if (answered === 1) return json(200, { err_code: 503, err_message: "slock not reachable" });
      if (answered === 2) return json(200, { err_code: 0, err_message: "succed", data: null });
      return undefined;
    };
    const push = connect(t, proxy.url);
    const polled = push.poll("sent").next();
    await until(() => answered === 3);
    await open.post("/poll/message/send?event=sent", "hello");
    assert.deepEqual((await polled).value, { key: "sent", data: '"hello"' });
    proxy.fault = () => json(200, { err_code: 409, err_message: "a newer wait of this session has come" });
    await assert.rejects(push.poll("sent").next(), { status: 409 });
  });
});

test("what the server asks for is a lower bound, also for a page that wakes up", options, async (t) => {
  const page = new EventTarget();
  globalThis.addEventListener = page.addEventListener.bind(page);
  t.after(() => delete globalThis.addEventListener);
  const inSeconds = (seconds) => new Date(Date.now() + 1000 * seconds).toUTCString();
  const faults = [
    () => json(503, {}, { "retry-after": "3" }),
    () => json(429, {}, { "retry-after": inSeconds(4) }), // of whole seconds
    () => json(503, { code: "limit", message: "", retry_ms: 3000 }),
    () => json(200, { items: [], retry_ms: 3000 }),
  ];
  const asks = faults.map(async (fault) => {
    const proxy = await FaultProxy.start(open);
    let answered = 0;
    proxy.fault = () => (answered++ ? undefined : fault());
    const seen = collect(t, connect(t, proxy.url), "bounded");
    await until(() => answered === 1);
    return { proxy, seen };
  });
  const clients = await Promise.all(asks);
  await sleep(200);
  page.dispatchEvent(new Event("online"));
  await until(() => clients.every(({ proxy }) => proxy.requests.length >= 2));
  const waited = clients.map(({ proxy }) => pauses(proxy)[0]);
  assert.ok(waited.every((seconds) => seconds > 2.9), `${waited}`);
  await until(() => clients.every(({ seen }) => seen.states.at(-1)?.[0] === "connected"));
});
