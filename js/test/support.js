/** Real servers, a proxy with faults between, and tickets. */

import { spawn } from "node:child_process";
import { createHmac } from "node:crypto";
import { once } from "node:events";
import net from "node:net";

import { Triopoll } from "../triopoll.js";

// Browsers have it, and Node from version 19 on; Debian 12 has 18.
globalThis.CustomEvent ??= class extends Event {
  constructor(type, { detail } = {}) {
    super(type);
    this.detail = detail;
  }
};

const PYTHON = process.env.TRIOSLOCK_TEST_PYTHON ?? "python3";
const SECRET = "a-secret-of-the-tests-that-is-long-enough";
/** Milliseconds that a test may take, and a condition: far above what they need. */
export const LIMIT = 120_000;
const PATIENCE = 60_000;

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** A client that is closed with its test. */
export function connect(t, url, options = {}) {
  const push = new Triopoll({ url, ...options });
  t.after(() => push.close());
  return push;
}

/** Subscribe, and collect what is delivered. */
export function collect(t, push, keys, options) {
  const seen = { messages: [], gaps: [], errors: [], states: [] };
  seen.stop = push.subscribe(
    keys,
    {
      message: (message) => seen.messages.push(message),
      gap: (gap) => seen.gaps.push(gap),
      error: (error) => seen.errors.push(error),
      state: (state, error) => seen.states.push([state, error?.status]),
    },
    options,
  );
  seen.data = () => seen.messages.map(({ data }) => data);
  t.after(seen.stop);
  return seen;
}

/** Wait until a condition holds; fail after a long time, with its text. */
export async function until(condition, what = condition.toString()) {
  const deadline = Date.now() + PATIENCE;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (Date.now() > deadline) throw new Error(`still not: ${what}`);
    await sleep(20);
  }
}

/** Listen and close again: a port that was free a moment ago. */
export async function freePort() {
  const server = net.createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

const children = new Set();
process.on("exit", () => {
  for (const child of children) child.kill("SIGKILL");
});
for (const name of ["SIGTERM", "SIGINT"]) process.on(name, () => process.exit(1));

/** `triopoll serve` with messages in memory. It ends with the test file. */
export class Server {
  #child;

  static async start(settings = {}) {
    const server = new Server();
    server.settings = settings;
    server.port = await freePort();
    server.slock = await freePort();
    await server.run();
    return server;
  }

  async run() {
    const env = { ...process.env };
    for (const name of Object.keys(env)) if (name.startsWith("TRIOPOLL_")) delete env[name];
    env.TRIOPOLL_SLOCK_URL = `embedded://127.0.0.1:${this.slock}`;
    for (const [name, value] of Object.entries(this.settings)) {
      env[`TRIOPOLL_${name.toUpperCase()}`] = String(value);
    }
    const options = ["--bind", `127.0.0.1:${this.port}`, "--drain-delay", "0"];
    this.#child = spawn(PYTHON, ["-m", "triopoll", "serve", ...options, "triopoll:app"], {
      env,
      stdio: ["ignore", "inherit", "inherit"],
    });
    children.add(this.#child);
    this.#child.unref();
    await until(() => {
      if (this.#child.exitCode !== null) throw new Error("triopoll serve has ended");
      return this.get("/livez").then((response) => response.ok, () => false);
    }, "serving");
  }

  get url() {
    return `http://127.0.0.1:${this.port}`;
  }

  get(path) {
    // A connection of its own: one that is kept alive would outlive a restart.
    return fetch(this.url + path, { headers: { connection: "close" } });
  }

  async post(path, body, method = "POST") {
    const response = await fetch(this.url + path, {
      method,
      body: JSON.stringify(body),
      headers: { connection: "close" },
    });
    return { status: response.status, ...(await response.json().catch(() => ({}))) };
  }

  publish(key, data) {
    return this.post("/v1/publish", { key, data });
  }

  /** The value of a metric, summed over the series that have these labels. */
  async metric(name, labels = "") {
    const text = await (await this.get("/metrics")).text();
    return text
      .split("\n")
      .filter((line) => line.startsWith(name) && line.includes(labels))
      .reduce((sum, line) => sum + Number(line.split(" ").at(-1)), 0);
  }

  async kill() {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    this.#child.ref();
    this.#child.kill("SIGKILL");
    await once(this.#child, "exit");
    children.delete(this.#child);
  }
}

/**
 * A TCP proxy in front of a server. `fault(request)` decides what becomes of each
 * request: nothing (passed on), `{status, headers?, body?}` (answered by the proxy),
 * `{cutAfter}` (the connection is closed after so many ms) or `{refuse: true}`.
 */
export class FaultProxy {
  requests = [];
  /** The highest number of requests that were open at once. */
  maxOpen = 0;
  fault = () => undefined;
  #sockets = new Set();

  static async start(server) {
    const proxy = new FaultProxy();
    proxy.target = server;
    proxy.listener = net.createServer((socket) => proxy.#serve(socket));
    proxy.listener.listen(0, "127.0.0.1");
    await once(proxy.listener, "listening");
    proxy.url = `http://127.0.0.1:${proxy.listener.address().port}`;
    proxy.listener.unref();
    return proxy;
  }

  /** Close all connections. */
  cut() {
    for (const socket of this.#sockets) socket.destroy();
  }

  /** Requests of one path since the last call of `clear`. */
  count(path) {
    return this.requests.filter((request) => request.path.startsWith(path)).length;
  }

  /** The waits that the server has not answered yet; a websocket is one. */
  waits() {
    return this.requests.filter(({ isOpen, isWait }) => isOpen && isWait);
  }

  clear() {
    this.requests = this.requests.filter(({ isOpen }) => isOpen);
  }

  #serve(socket) {
    this.#track(socket);
    const upstream = net.connect(this.target.port, "127.0.0.1");
    this.#track(upstream);
    socket.on("close", () => upstream.destroy());
    upstream.on("close", () => socket.destroy());
    let request;
    upstream.on("data", (data) => {
      if (request && !isWebsocket) request.isOpen = false;
      socket.write(data);
    });
    socket.on("close", () => request && (request.isOpen = false));
    // Requests come one at a time; one may come in several pieces.
    let pending = Buffer.alloc(0);
    let isWebsocket = false;
    socket.on("data", (data) => {
      if (isWebsocket) return upstream.write(data);
      pending = Buffer.concat([pending, data]);
      const end = pending.indexOf("\r\n\r\n");
      if (end < 0) return;
      const head = pending.subarray(0, end).toString("latin1");
      const length = Number(/content-length: *(\d+)/i.exec(head)?.[1] ?? 0);
      if (pending.length < end + 4 + length) return;
      const whole = pending;
      pending = Buffer.alloc(0);
      const [method, path] = head.split(" ");
      isWebsocket = /upgrade: *websocket/i.test(head);
      const body = whole.subarray(end + 4).toString();
      const isWait = isWebsocket || (/^\/(v1\/.*wait|poll)/.test(path) && !/"timeout":0[,}]/.test(body));
      request = { method, path, head, body, isWait, isOpen: true, at: performance.now() };
      this.requests.push(request);
      this.maxOpen = Math.max(this.maxOpen, this.requests.filter(({ isOpen }) => isOpen).length);
      this.#decide(request, whole, socket, upstream);
    });
  }

  #decide(request, whole, socket, upstream) {
    const fault = this.fault(request);
    if (fault?.refuse) return socket.destroy();
    if (fault?.status) {
      request.isOpen = false;
      const body = fault.body ?? "";
      const headers = { "content-length": Buffer.byteLength(body), "access-control-allow-origin": "*", ...fault.headers };
      const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
      socket.write(`HTTP/1.1 ${fault.status} Fault\r\n${lines.join("")}\r\n${body}`);
      return;
    }
    upstream.write(whole);
    if (fault?.cutAfter !== undefined) setTimeout(() => socket.destroy(), fault.cutAfter);
  }

  #track(socket) {
    this.#sockets.add(socket);
    socket.on("close", () => this.#sockets.delete(socket));
    socket.on("error", () => socket.destroy());
  }
}

/** A ticket as a web application signs it. */
export function ticketFor(keys, { lifetime = 900, subject, id } = {}) {
  const encode = (shape) => Buffer.from(JSON.stringify(shape)).toString("base64url");
  const claims = { exp: Math.floor(Date.now() / 1000) + lifetime, keys, sub: subject, jti: id };
  const text = `${encode({ alg: "HS256", typ: "JWT" })}.${encode(claims)}`;
  return `${text}.${createHmac("sha256", SECRET).update(text).digest("base64url")}`;
}
ticketFor.secret = SECRET;
