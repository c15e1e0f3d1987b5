/** In headless Chromium: tabs that share a request, and pages that sleep and wake up. */

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { chromium } from "playwright-core";

import { FaultProxy, LIMIT, Server, sleep, ticketFor, until } from "./support.js";

const options = { timeout: LIMIT };
let browser;
let server;
let guarded;
before(async () => {
  [browser, server, guarded] = await Promise.all([
    chromium.launch({
      executablePath: process.env.TRIOSLOCK_TEST_CHROMIUM ?? "/usr/bin/chromium",
      ignoreDefaultArgs: ["--disable-back-forward-cache"],
      args: [
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
      ],
    }),
    Server.start({ cors_origins: "*" }),
    Server.start({ ticket_secrets: ticketFor.secret }),
  ]);
});
after(() => browser?.close());

/** A browser's profile whose pages are served through a proxy of their own. */
async function openProfile(t, target = server) {
  const proxy = await FaultProxy.start(target);
  const context = await browser.newContext();
  t.after(() => context.close());
  let leader;
  context.on("request", (request) => {
    if (request.url().includes("/v1/wait")) leader = request.frame().page();
  });
  return { proxy, context, leader: () => leader };
}

/** Open a tab and subscribe in it; `setup` runs in it before. */
async function openTab({ proxy, context }, keys, { setup, ...given } = {}) {
  const page = await context.newPage();
  // Any page of the server that a cache may keep.
  await page.goto(`${proxy.url}/openapi.json`);
  if (setup) await page.evaluate(setup);
  await page.evaluate(async ({ keys, given }) => {
    const module = await import(given.module ?? (await modulePath()));
    const { calls } = given;
    const ticket = given.tickets && (() => given.tickets[Math.min(window.calls++, given.tickets.length - 1)]);
    window.calls = calls ?? 0;
    window.seen = { data: [], gaps: [], errors: [], states: [] };
    window.push = new module.Triopoll({ ...given, storage: sessionStorage, ...(ticket && { ticket }) });
    window.stop = keys && window.push.subscribe(keys, {
      message: ({ data }) => window.seen.data.push(data),
      gap: (gap) => window.seen.gaps.push(gap),
      error: ({ status, code }) => window.seen.errors.push({ status, code }),
      state: (state) => window.seen.states.push(state),
    }, { cursor: given.cursor });
    // A cursor is stored once the server knows the subscription.
    const isKnown = () => sessionStorage.length >= [keys].flat().length || window.seen.errors.length;
    while (keys && !isKnown()) await new Promise((resolve) => setTimeout(resolve, 20));

    /** The module is served under the version of triopoll, which its document names. */
    async function modulePath() {
      const { info } = await (await fetch("/openapi.json")).json();
      return `/js/${info.version}/triopoll.js`;
    }
  }, { keys, given });
  return page;
}

const seen = (page) => page.evaluate(() => window.seen);
const dataOf = async (page) => (await seen(page)).data;
const parked = ({ proxy }) => until(() => proxy.waits().length, "parked");

/** Wait until each page has exactly these messages. */
async function received(pages, expected) {
  for (const page of pages) {
    await until(async () => (await dataOf(page)).length >= expected.length, `received ${expected}`);
    assert.deepEqual(await dataOf(page), expected);
  }
}

test("ten tabs keep one parked connection, and all receive the messages", options, async (t) => {
  const profile = await openProfile(t);
  let highest = 0;
  let isOver = false;
  const watching = (async () => {
    for (; !isOver; await sleep(50)) {
      // All tabs wait for one key, so this counts requests.
      highest = Math.max(highest, await server.metric("triopoll_waits_parked"));
    }
  })();
  const tabs = [];
  for (let n = 0; n < 10; n++) tabs.push(await openTab(profile, "ten"));
  await parked(profile);
  for (const n of [1, 2, 3]) {
    await server.publish("ten", n);
    await received(tabs, [1, 2, 3].slice(0, n));
  }
  isOver = true;
  await watching;
  assert.equal(highest, 1);
  assert.equal(profile.proxy.waits().length, 1);
});

// They wait more than they work.
describe("pages", { concurrency: 3 }, () => {
  test("tabs with other keys and cursors share the request too", options, async (t) => {
    const profile = await openProfile(t);
    await server.publish("b", 0);
    const left = await openTab(profile, "a");
    const both = await openTab(profile, ["a", "b"]);
    const right = await openTab(profile, "b", { cursor: "all" });
    await received([right], [0]);
    const isBoth = ({ body }) => /"a"/.test(body) && /"b"/.test(body);
    await until(() => profile.proxy.waits().some(isBoth), "both keys");
    await server.publish("a", 1);
    await received([left, both], [1]);
    await server.publish("b", 2);
    await received([both], [1, 2]);
    await received([right], [0, 2]);
    assert.deepEqual(await dataOf(left), [1]);
    assert.equal(profile.proxy.waits().length, 1);
  });

  for (const [name, end] of [
    ["closed", (page) => page.close()],
    ["navigated", (page) => page.goto("about:blank")],
    ["crashed", (page) => page.goto("chrome://crash").catch(() => {})],
  ]) {
    test(`a tab leads at once after the leader was ${name}, and nothing is missed`, options, async (t) => {
      const profile = await openProfile(t);
      const key = `election.${name}`;
      const tabs = [];
      for (let n = 0; n < 3; n++) tabs.push(await openTab(profile, key));
      await parked(profile);
      await server.publish(key, 1);
      await received(tabs, [1]);
      await parked(profile);
      const leader = profile.leader();
      profile.proxy.clear();
      const since = performance.now();
      await end(leader);
      await server.publish(key, 2);
      const others = tabs.filter((tab) => tab !== leader);
      await received(others, [1, 2]);
      await server.publish(key, 3);
      await received(others, [1, 2, 3]);
      assert.ok(others.includes(profile.leader()));
      const first = profile.proxy.requests.find(({ at }) => at > since);
      t.diagnostic(`the new leader asked after ${Math.round(first.at - since)} ms`);
    });
  }

  test("a leader that leaves the subscription makes room, and keeps the page", options, async (t) => {
    const profile = await openProfile(t);
    const tabs = [await openTab(profile, "left"), await openTab(profile, "left")];
    await parked(profile);
    const left = profile.leader();
    await left.evaluate(() => window.stop());
    await server.publish("left", 1);
    await received(tabs.filter((tab) => tab !== left), [1]);
  });

  test("without Web Locks each tab asks for itself", options, async (t) => {
    const profile = await openProfile(t);
    const setup = () => Object.defineProperty(navigator, "locks", { value: undefined });
    const tabs = [];
    for (let n = 0; n < 3; n++) tabs.push(await openTab(profile, "alone", { setup }));
    await until(() => profile.proxy.waits().length === 3, "three requests");
    await server.publish("alone", 1);
    await received(tabs, [1]);
  });

  test("a sandboxed frame, which has no locks, asks for itself", options, async (t) => {
    const profile = await openProfile(t);
    const page = await openTab(profile);
    await page.evaluate(async () => {
      const { info } = await (await fetch("/openapi.json")).json();
      const frame = document.createElement("iframe");
      frame.sandbox = "allow-scripts";
      frame.srcdoc = `<script type="module">
        import { Triopoll } from "${location.origin}/js/${info.version}/triopoll.js";
        new Triopoll().subscribe("framed", { message: ({ data }) => parent.postMessage(data, "*") });
      <` + `/script>`;
      window.addEventListener("message", ({ data }) => window.seen.data.push(data));
      document.body.append(frame);
    });
    await parked(profile);
    await server.publish("framed", "in the frame");
    await received([page], ["in the frame"]);
  });

  test("tabs of one ticket subject share its renewal", options, async (t) => {
    const profile = await openProfile(t, guarded);
    const tickets = [
      ticketFor(["renewed"], { subject: "7", lifetime: 4 }),
      ticketFor(["renewed"], { subject: "7" }),
    ];
    const tabs = [];
    for (let n = 0; n < 3; n++) tabs.push(await openTab(profile, "renewed", { tickets }));
    const calls = () => Promise.all(tabs.map((tab) => tab.evaluate(() => window.calls)));
    await until(async () => Math.max(...(await calls())) === 2, "renewed");
    await parked(profile);
    await guarded.publish("renewed", 1);
    await received(tabs, [1]);
    assert.deepEqual((await calls()).sort(), [1, 1, 2]);
    assert.equal(profile.proxy.waits().length, 1);
  });

  test("tabs of two subjects ask separately", options, async (t) => {
    const profile = await openProfile(t, guarded);
    const tabs = [];
    for (const subject of ["7", "8"]) {
      const tickets = [ticketFor(["of.*"], { subject })];
      tabs.push(await openTab(profile, "of.both", { tickets }));
    }
    await until(() => profile.proxy.waits().length === 2, "two requests");
  });

  test("a key that only the ticket of a follower covers is served to it", options, async (t) => {
    const profile = await openProfile(t, guarded);
    const first = await openTab(profile, "x", { tickets: [ticketFor(["x"], { subject: "9" })] });
    await parked(profile);
    const second = await openTab(profile, "y", { tickets: [ticketFor(["y"], { subject: "9" })] });
    const third = await openTab(profile, "z", { tickets: [ticketFor(["x"], { subject: "9" })] });
    await until(() => profile.proxy.waits().length === 2, "two requests");
    await guarded.publish("x", 1);
    await guarded.publish("y", 2);
    await received([first], [1]);
    await received([second], [2]);
    assert.deepEqual((await seen(third)).errors, [{ status: 403, code: "forbidden" }]);
  });

  test("offline and back: asked again on `online`, not after the delay", options, async (t) => {
    const profile = await openProfile(t);
    const tabs = [await openTab(profile, "offline"), await openTab(profile, "offline")];
    await parked(profile);
    // What is random has no part in this: a delay is 20 s.
    for (const tab of tabs) await tab.evaluate(() => (Math.random = () => 20));
    profile.proxy.fault = () => ({ refuse: true });
    await profile.context.setOffline(true);
    profile.proxy.cut();
    await server.publish("offline", 1);
    await until(async () => (await seen(tabs[0])).states.at(-1) === "retrying");
    profile.proxy.fault = () => undefined;
    const since = performance.now();
    await profile.context.setOffline(false);
    await received(tabs, [1]);
    assert.ok(performance.now() - since < 15_000);
  });

  test("a page from the back/forward cache continues, and nothing is missed", options, async (t) => {
    const profile = await openProfile(t);
    const page = await openTab(profile, "cached");
    await parked(profile);
    await page.evaluate(() => {
      window.addEventListener("pageshow", ({ persisted }) => (window.persisted = persisted));
    });
    await page.goto(`${profile.proxy.url}/readyz`);
    await until(() => !profile.proxy.waits().length, "no request is open");
    await server.publish("cached", 1);
    await page.goBack({ waitUntil: "commit" });
    assert.equal(await page.evaluate(() => window.persisted), true);
    await received([page], [1]);
    await parked(profile);
    await server.publish("cached", 2);
    await received([page], [1, 2]);
  });

  test("a frozen page lets another tab lead, and continues when it is resumed", options, async (t) => {
    const profile = await openProfile(t);
    const frozen = await openTab(profile, "frozen");
    await parked(profile);
    const other = await openTab(profile, "frozen");
    await parked(profile);
    // Chromium freezes hidden tabs only; these are the events that the page gets.
    await frozen.evaluate(() => document.dispatchEvent(new Event("freeze")));
    await until(() => profile.leader() === other && profile.proxy.waits().length === 1, "another leads");
    await server.publish("frozen", 1);
    await received([other], [1]);
    assert.deepEqual(await dataOf(frozen), []);
    await frozen.evaluate(() => document.dispatchEvent(new Event("resume")));
    await received([frozen], [1]);
  });

  for (const [name, wake] of [
    ["becomes visible", () => document.dispatchEvent(new Event("visibilitychange"))],
    ["is online again", () => window.dispatchEvent(new Event("online"))],
    ["is resumed", () => document.dispatchEvent(new Event("resume"))],
    ["finds that the clock has jumped", () => {
      window.now ??= Date.now;
      Date.now = () => window.now.call(Date) + 3_600_000;
    }],
  ]) {
    test(`a page that ${name} aborts its request and asks again, once`, options, async (t) => {
      const profile = await openProfile(t);
      const leader = await openTab(profile, "woken");
      await parked(profile);
      const follower = await openTab(profile, "woken");
      await sleep(1000);
      const [before] = profile.proxy.waits();
      profile.proxy.clear();
      // Many events of a tab are one, and the leader asks for both tabs.
      const burst = `for (let n = 0; n < 10; n++) (${wake})()`;
      await Promise.all([leader, follower].map((page) => page.evaluate(burst)));
      await until(() => profile.proxy.waits().some((wait) => wait !== before), "asked again");
      await until(() => !before.isOpen, "the old request is aborted");
      await sleep(1000);
      const again = profile.proxy.requests.filter((request) => request !== before);
      assert.ok(again.length <= 2, `${again.length}`);
      assert.equal(profile.proxy.waits().length, 1);
    });
  }

  test("hidden tabs keep waiting, unless the page chooses otherwise", options, async (t) => {
    const hide = (isHidden) => {
      Object.defineProperty(document, "hidden", { value: isHidden, configurable: true });
      document.dispatchEvent(new Event("visibilitychange"));
    };
    const profile = await openProfile(t);
    const page = await openTab(profile, "hidden");
    await parked(profile);
    await page.evaluate(hide, true);
    await server.publish("hidden", 1);
    await received([page], [1]);
    const paused = await openProfile(t);
    const pausing = await openTab(paused, "hidden", { pauseHidden: true });
    await parked(paused);
    await pausing.evaluate(hide, true);
    await until(() => !paused.proxy.waits().length, "no request is open");
    await server.publish("hidden", 2);
    await pausing.evaluate(hide, false);
    await received([pausing], [2]);
  });

  test("where polls are cut, a websocket takes over, and a poll comes back later", options, async (t) => {
    const profile = await openProfile(t);
    const { proxy } = profile;
    // A network that cuts what waits for longer than a second.
    proxy.fault = ({ isWait, path }) => (isWait && path.startsWith("/v1/wait") ? { cutAfter: 1000 } : undefined);
    const tabs = [
      await openTab(profile, "sockets", { websocket: 6 }),
      await openTab(profile, "sockets", { websocket: 6 }),
    ];
    const sockets = () => proxy.requests.filter(({ path }) => path.startsWith("/v1/ws"));
    await until(() => sockets().some(({ isOpen }) => isOpen), "a websocket");
    const event = tabs[1].evaluate(() => window.push.event("socket.event"));
    for (let n = 1; n <= 3; n++) {
      await server.publish("sockets", n);
      await received(tabs, [1, 2, 3].slice(0, n));
    }
    await server.post("/v1/publish", { type: "event", key: "socket.event" });
    assert.equal(await event, true);
    // It ends after its time; one poll that is cut is enough to open the next.
    const count = sockets().length;
    await until(() => sockets().length > count && sockets().at(-1).isOpen, "the next websocket");
    // The network lets polls through again.
    proxy.fault = () => undefined;
    await until(() => proxy.waits().some(({ path }) => path.startsWith("/v1/wait")), "a poll");
    await sleep(1500);
    await until(() => proxy.waits().every(({ path }) => path.startsWith("/v1/wait")), "no websocket");
    await server.publish("sockets", 4);
    await received(tabs, [1, 2, 3, 4]);
  });

  test("an error of a callback is reported, and the next message still comes", options, async (t) => {
    const profile = await openProfile(t);
    const page = await openTab(profile);
    const errors = [];
    page.on("pageerror", ({ message }) => errors.push(message));
    await server.publish("thrown", 1);
    await server.publish("thrown", 2);
    await page.evaluate(() => {
      const message = ({ data }) => {
        window.seen.data.push(data);
        if (data === 1) throw new Error("of the page");
      };
      window.push.subscribe("thrown", { message }, { cursor: "all" });
    });
    await received([page], [1, 2]);
    await until(() => errors.length);
    assert.deepEqual(errors, ["of the page"]);
  });

  test("a page of another origin imports the module and uses its server", options, async (t) => {
    const context = await browser.newContext();
    t.after(() => context.close());
    const page = await context.newPage();
    await page.goto(`${guarded.url}/livez`);
    const { info } = await (await server.get("/openapi.json")).json();
    await page.evaluate(async (module) => {
      const { Triopoll } = await import(module);
      window.seen = { data: [] };
      new Triopoll().subscribe("foreign", { message: ({ data }) => window.seen.data.push(data) }, { cursor: "all" });
    }, `${server.url}/js/${info.version}/triopoll.js`);
    await server.publish("foreign", 1);
    await received([page], [1]);
  });

  test("what the page stores survives a reload of it", options, async (t) => {
    const profile = await openProfile(t);
    const page = await openTab(profile);
    const subscribe = async () => {
      const { info } = await (await fetch("/openapi.json")).json();
      const { Triopoll } = await import(`/js/${info.version}/triopoll.js`);
      window.seen = { data: [] };
      new Triopoll({ storage: sessionStorage }).subscribe("kept", { message: ({ data }) => window.seen.data.push(data) });
    };
    await page.evaluate(subscribe);
    await until(() => page.evaluate(() => sessionStorage.length));
    await server.publish("kept", 1);
    await received([page], [1]);
    await page.reload();
    await server.publish("kept", 2);
    await page.evaluate(subscribe);
    await received([page], [2]);
  });
});
