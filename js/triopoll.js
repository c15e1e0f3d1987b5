/**
 * Browser client of triopoll: messages, states, events and the poll API.
 *
 * - `Link` sends requests: it renews tickets, repeats what failed and wakes up with the
 *   page.
 * - `Feed` holds the subscriptions. The feeds of all tabs with the same ticket subject
 *   elect a leader (Web Locks); only the leader waits at the server, for the
 *   subscriptions of all tabs, and sends the results to the others (BroadcastChannel).
 * - `Triopoll` is the public interface.
 *
 * @module triopoll
 */

/** Seconds of grace for the answer to a wait, beyond the seconds that it may wait. */
const GRACE = 10;
/** A poll that fails before this many seconds was refused, not cut. */
const CUT_AFTER = 0.5;
/** Polls in a row that are cut before a websocket is tried. */
const MAX_CUTS = 3;
/** Items of one `/v1/wait` (a limit of the server). */
const MAX_ITEMS = 50;
/** Messages that wait for a slow consumer before its subscription pauses. */
const MAX_QUEUE = 1000;
/** Milliseconds from the event that wakes the page to the new request. */
const DEBOUNCE = 300;
/** Milliseconds between two looks at the clock. */
const TICK = 2000;
/** Milliseconds after which tabs that do not answer are forgotten. */
const ROLL_CALL = 20000;
/** The longest delay of a timer. */
const FOREVER = 2 ** 31 - 1;

const now = () => Date.now() / 1000;
const unref = (timer) => timer?.unref?.();
const randomId = () =>
  Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(36)).join("");

/** A refusal of the server. */
export class TriopollError extends Error {
  /**
   * @param {number} status HTTP status, or `err_code` of the poll API
   * @param {string} [code]
   * @param {string} [message]
   */
  constructor(status, code, message) {
    super(message || code || `HTTP ${status}`);
    this.name = "TriopollError";
    this.status = status;
    this.code = code;
  }
}

/** One loop of requests. It can be restarted (the page woke up) and stopped. */
class Task {
  /** Server time bound, in seconds: no request is sent before it, woken or not. */
  notBefore = 0;

  restart() {
    this.woken = true;
    if (!this.held) this.abort?.();
  }

  stop(reason) {
    this.reason ??= reason ?? new DOMException("stopped", "AbortError");
    this.abort?.();
  }

  /**
   * Sleep; a restart ends it, unless it is held.
   * @param {number} seconds
   * @param {boolean} [held]
   */
  async sleep(seconds, held = false) {
    if (this.reason || !(seconds > 0)) return;
    this.held = held;
    await new Promise((resolve) => {
      const timer = setTimeout(resolve, Math.min(seconds * 1000, FOREVER));
      this.abort = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.held = false;
  }
}

/** Requests to one server. */
class Link {
  tasks = new Set();
  cuts = 0;
  #blockedUntil = 0;
  #block = 30;
  #shortWait = Infinity;
  #shortUntil = 0;

  constructor(options, emit) {
    this.options = options;
    this.emit = emit;
    this.url = options.url.replace(/\/$/, "");
  }

  /** @returns {Task} which ends with the signal */
  task(signal) {
    const task = new Task();
    this.tasks.add(task);
    if (signal?.aborted) task.stop(signal.reason);
    signal?.addEventListener("abort", () => task.stop(signal.reason), { once: true });
    return task;
  }

  end(task) {
    this.tasks.delete(task);
    task.stop();
  }

  // --- ticket --------------------------------------------------------------------------

  /** @returns {Promise<string | undefined>} the ticket */
  token() {
    const { ticket } = this.options;
    // All requests that need a ticket share one call.
    this.#token ??= Promise.resolve(typeof ticket === "function" ? ticket() : ticket).catch(
      (error) => {
        this.#token = undefined;
        throw error;
      },
    );
    return this.#token;
  }
  #token;

  /** Forget a ticket that was refused, unless another request has done so. */
  async #renew(refused) {
    if ((await this.token()) === refused) this.#token = undefined;
    await this.token();
  }

  // --- transport -----------------------------------------------------------------------

  /** @returns {number} seconds that a poll should wait */
  get wait() {
    return Math.min(this.options.wait, now() < this.#shortUntil ? this.#shortWait : Infinity);
  }

  get websocketIsNext() {
    const { transport } = this.options;
    if (transport !== "auto") return transport === "websocket";
    return this.cuts >= MAX_CUTS && now() >= this.#blockedUntil && globalThis.WebSocket;
  }

  #pollCut(lasted) {
    this.cuts++;
    const noWebsocket =
      this.options.transport === "poll" || now() < this.#blockedUntil || !globalThis.WebSocket;
    if (this.cuts > 1 && noWebsocket) {
      this.#shortWait = Math.max(1, lasted * 0.7);
      this.#shortUntil = now() + 3600;
    }
  }

  /** @param {number} lived seconds since the server's first frame; 0 if there was none */
  websocketEnded(lived) {
    if (lived >= 5) {
      // A poll is next. If it is cut, one cut is enough to return to a websocket.
      this.#block = 30;
      this.cuts = MAX_CUTS - 1;
    } else {
      this.#blockedUntil = now() + this.#block;
      this.#block = Math.min(2 * this.#block, 3600);
    }
  }

  // --- requests ------------------------------------------------------------------------

  /**
   * Send a request, and again until the server answers it.
   * @param {Task} task
   * @param {() => {path: string, body?: string, wait?: number, open?: boolean,
   *   isIdle?: (shape: any) => boolean} | undefined} make called for each attempt;
   *   undefined: nothing is to be asked any more
   * @returns {Promise<any>} the JSON object of the answer
   * @throws {TriopollError} a refusal that is final
   */
  async ask(task, make) {
    let failures = 0;
    let delay = 0;
    let denied = false;
    for (;;) {
      await task.sleep(task.notBefore - now(), true);
      if (!task.woken) await task.sleep(delay);
      await this.frozen;
      if (task.reason) throw task.reason;
      task.woken = false;
      const request = make();
      if (!request) return;
      const since = now();
      let error;
      let token;
      try {
        token = request.open ? undefined : await this.token();
        const shape = await this.#send(task, request, token);
        task.report?.("connected");
        return shape;
      } catch (caught) {
        error = caught;
      }
      if (task.reason) throw task.reason;
      if (task.woken) continue;
      const { status, code } = error;
      const lasted = now() - since;
      if (status === 401) {
        if (denied) throw error;
        try {
          await this.#renew(token);
          denied = true;
          delay = 0;
          continue;
        } catch (caught) {
          error = caught;
        }
      } else if (
        [403, 409, 410].includes(status) ||
        // Some proxies answer 404 for a server that restarts.
        (status === 404 && (code || !this.served)) ||
        (status === 400 && code)
      ) {
        throw error;
      } else if (!code && request.wait && lasted > CUT_AFTER) {
        this.#pollCut(lasted);
      }
      task.report?.("retrying", error);
      // The first delay is below a second; from then on half of the delay is fixed, so
      // that a short outage sees few requests. The jitter is applied after the limit.
      const limit = Math.min(30, 2 ** failures);
      delay = failures++ ? (limit * (1 + Math.random())) / 2 : Math.random();
    }
  }

  async #send(task, { path, body, wait = 0, isIdle }, token) {
    const controller = new AbortController();
    task.abort = () => controller.abort();
    if (task.woken || task.reason) task.abort();
    const timer = setTimeout(task.abort, (wait + GRACE) * 1000);
    const since = now();
    try {
      const response = await fetch(this.url + path, {
        method: body ? "POST" : "GET",
        body,
        headers: token ? { authorization: `Bearer ${token}` } : {},
        cache: "no-store",
        credentials: this.options.credentials,
        signal: controller.signal,
      });
      const text = await response.text();
      let shape;
      try {
        shape = JSON.parse(text || "{}");
      } catch {
        shape = {};
        if (response.ok) throw new TriopollError(502, undefined, "the answer is not triopoll's");
      }
      // The poll API has its status in the body, where 504 is the end of the wait.
      const status = shape.err_code || response.status;
      const hasEnded = shape.err_code === 504;
      this.#bound(task, response.headers.get("retry-after"), shape.retry_ms);
      if (!hasEnded && (status < 200 || status > 299)) {
        throw new TriopollError(status, shape.code, shape.message || shape.err_message);
      }
      const granted = Math.min(wait, shape.wait ?? wait);
      if (
        wait && isIdle?.(shape) && !shape.retry_ms && shape.code !== "draining" &&
        now() - since < granted / 2
      ) {
        throw new TriopollError(504, undefined, "an empty answer, far too early");
      }
      if (wait) this.cuts = 0;
      this.served = true;
      return shape;
    } finally {
      clearTimeout(timer);
    }
  }

  /** Note the time that the server asks for. Being woken does not shorten it. */
  #bound(task, retryAfter, retryMs = 0) {
    const date = (Date.parse(retryAfter) - Date.now()) / 1000;
    const seconds = Math.max(Number(retryAfter) || date || 0, retryMs / 1000 || 0);
    if (seconds > 0) task.notBefore = now() + Math.min(seconds, 3600);
  }
}

/** The subscriptions of this tab, and who asks the server for them. */
class Feed {
  subscriptions = new Set();
  /** What the other tabs want: id of the tab to its items and when it was heard. */
  #tabs = new Map();
  #id = randomId();
  #isChanging = false;

  constructor(link, share) {
    this.link = link;
    this.share = share && globalThis.navigator?.locks && globalThis.BroadcastChannel;
  }

  /**
   * Add a subscription.
   * @param {{item: string, take: Function, fail: Function, isFull?: Function}}
   *   subscription its `item` is the JSON of an item of `/v1/wait`, which is also what
   *   the tabs call it
   */
  add(subscription) {
    this.subscriptions.add(subscription);
    if (!this.task) this.join();
    this.change();
  }

  remove(subscription) {
    if (!this.subscriptions.delete(subscription)) return;
    if (this.subscriptions.size) this.change();
    else this.leave();
  }

  /** Take part in the election; lead once this tab is elected, or if it is alone. */
  async join() {
    if (this.task || !this.subscriptions.size) return;
    const { link } = this;
    const task = (this.task = link.task());
    task.report = (state, error) => {
      if (!link.emit(state, error)) return;
      const { status, code, message } = error ?? {};
      this.#post({ state, error: error && { status, code, message } });
    };
    try {
      const lead = async () => {
        if (!task.reason) await this.#lead(task);
      };
      let subject;
      if (this.share) {
        await link.frozen;
        subject = await this.#subject(task);
      }
      if (task.reason) return;
      if (!this.share) return await lead();
      const name = `triopoll ${link.url} ${subject}`;
      this.channel = new BroadcastChannel(name);
      unref(this.channel);
      this.channel.onmessage = ({ data }) => this.#hear(data);
      this.#tell(true);
      const election = new AbortController();
      task.leave = () => election.abort();
      await navigator.locks.request(name, { signal: election.signal }, lead);
    } catch (error) {
      if (!task.reason) this.#fail(error);
    }
  }

  /** Leave the election, and leadership; another tab leads at once. */
  leave() {
    const { task, channel } = this;
    if (!task) return;
    this.task = this.channel = this.isLeader = undefined;
    channel?.postMessage({ tab: this.#id, items: [] });
    channel?.close();
    this.link.end(task);
    task.leave?.();
    this.#tabs.clear();
  }

  /** @returns {Promise<string>} what all tickets of one subject have in common */
  async #subject(task) {
    for (let tries = 0; !task.reason; tries++) {
      try {
        const token = await this.link.token();
        if (!token) return "";
        try {
          const claims = token.split(".")[1].replace(/-/g, "+").replace(/_/g, "/");
          const { sub, keys } = JSON.parse(atob(claims));
          return JSON.stringify(sub ?? keys);
        } catch {
          return token;
        }
      } catch (error) {
        task.report("retrying", error);
        await task.sleep(Math.random() * Math.min(30, 2 ** tries));
      }
    }
  }

  #post(message) {
    this.channel?.postMessage(message);
  }

  /** Tell the other tabs what this one wants. */
  #tell(isNew = false) {
    this.#post({ tab: this.#id, items: this.#own(), isNew });
  }

  #hear({ tab, items, isNew, results, refused, state, error, call, wake }) {
    if (tab) {
      if (items.length) this.#tabs.set(tab, { items, heard: now() });
      else this.#tabs.delete(tab);
      if (isNew) this.#tell();
      this.#restartIfChanged();
    }
    if (results) this.#apply(results);
    if (refused) this.#refuse(refused, error);
    if (state) this.link.emit(state, error);
    if (call) this.#tell();
    if (wake && this.isLeader) this.restart();
  }

  /** Abort the request in flight and ask again, in whatever tab that is. */
  wake() {
    if (this.isLeader) this.restart();
    else this.#post({ wake: true });
  }

  restart() {
    // Several tabs wake up at the same moment.
    if (now() - (this.restarted ?? 0) < DEBOUNCE / 1000) return;
    this.restarted = now();
    this.task?.restart();
  }

  /** The subscriptions of this tab have changed. */
  change() {
    if (this.#isChanging) return;
    this.#isChanging = true;
    queueMicrotask(() => {
      this.#isChanging = false;
      this.#tell();
      this.#restartIfChanged();
    });
  }

  #restartIfChanged() {
    if (!this.isLeader) return;
    const wanted = this.#wanted();
    const asked = this.asked ?? [];
    if (wanted.length !== asked.length || wanted.some((item) => !asked.includes(item))) {
      this.task.restart();
    }
  }

  #own() {
    const waiting = [...this.subscriptions].filter((each) => !each.isFull?.());
    return [...new Set(waiting.map((each) => each.item))];
  }

  /** @returns {string[]} the items that any tab waits for */
  #wanted() {
    const others = [...this.#tabs.values()].flatMap((tab) => tab.items);
    return [...new Set([...this.#own(), ...others])];
  }

  // --- leading -------------------------------------------------------------------------

  async #lead(task) {
    this.isLeader = true;
    let called = now();
    this.#post({ call: true });
    for (let turn = 0; !task.reason; turn++) {
      if (now() - called > ROLL_CALL / 1000) {
        for (const [id, { heard }] of this.#tabs) if (heard < called) this.#tabs.delete(id);
        called = now();
        this.#post({ call: true });
      }
      const isNew = () => this.asked.some((item) => item.includes('"cursor":"new"'));
      this.asked = this.#wanted();
      if (!this.asked.length) await task.sleep(FOREVER);
      else if (this.link.websocketIsNext && !(await this.#poll(task, turn, () => 0))) {
        await this.#listen(task);
      } else {
        await this.#poll(task, turn, () => (isNew() ? 0 : this.link.wait));
      }
    }
  }

  /**
   * Ask once.
   * @returns {Promise<boolean>} whether something had come
   */
  async #poll(task, turn, wait) {
    let asked = [];
    try {
      const answer = await this.link.ask(task, () => {
        this.asked = this.#wanted();
        if (!this.asked.length) return;
        // More items than one request may have take turns, with short waits.
        const start = this.asked.length > MAX_ITEMS ? (turn * MAX_ITEMS) % this.asked.length : 0;
        asked = this.asked.slice(start, start + MAX_ITEMS);
        const seconds = Math.min(wait(), this.asked.length > MAX_ITEMS ? 1 : Infinity);
        return this.#request(asked, seconds);
      });
      return this.#publish(asked, answer?.items ?? []);
    } catch (error) {
      if (task.reason) throw error;
      if (![400, 403].includes(error.status)) throw error;
      await this.#sift(task, asked, error);
      return true;
    }
  }

  #request(items, wait) {
    return {
      path: `/v1/wait?session=${this.#id}`,
      body: `{"items":[${items}],"timeout":${wait}}`,
      wait,
      isIdle: (shape) => !shape.items.some((item) => item.ready),
    };
  }

  /** Find the items because of which a request was refused. */
  async #sift(task, items, error) {
    for (const item of items) {
      try {
        if (items.length < 2) throw error;
        const answer = await this.link.ask(task, () => this.#request([item], 0));
        this.#publish([item], answer.items);
      } catch (refusal) {
        if (task.reason) throw refusal;
        const { status, code, message } = refusal;
        if (![400, 403].includes(status)) throw refusal;
        const plain = { status, code, message };
        this.#post({ refused: item, error: plain });
        for (const tab of this.#tabs.values()) tab.items = tab.items.filter((i) => i !== item);
        this.#refuse(item, plain);
      }
    }
  }

  /** Give results to all tabs that wait for them. */
  #publish(asked, answers) {
    const results = asked
      .map((item, index) => [item, answers[index]])
      .filter(([item, result]) => result?.ready || moved(item, result) !== item);
    if (results.length) {
      this.#post({ results });
      this.#apply(results);
    }
    return results.length > 0;
  }

  #apply(results) {
    for (const [item, result] of results) {
      const next = moved(item, result);
      for (const tab of this.#tabs.values()) {
        tab.items = tab.items.map((each) => (each === item ? next : each)).filter(Boolean);
      }
      for (const subscription of [...this.subscriptions]) {
        if (subscription.item === item) {
          subscription.item = next;
          if (!next) this.remove(subscription);
          subscription.take(result);
        }
      }
    }
  }

  /** An item was refused with the leader's ticket. */
  #refuse(item, { status, code, message }) {
    const error = new TriopollError(status, code, message);
    for (const subscription of [...this.subscriptions]) {
      if (subscription.item !== item) continue;
      const { isLeader } = this;
      this.remove(subscription);
      if (isLeader) subscription.fail(error);
      // The ticket of this tab may cover it.
      else new Feed(this.link, false).add(subscription);
    }
  }

  /** The server refuses this tab; the others find out for themselves. */
  #fail(error) {
    const failed = [...this.subscriptions];
    this.subscriptions.clear();
    this.leave();
    for (const subscription of failed) subscription.fail(error);
  }

  /** Follow the items over a websocket until it ends. Each is at the head of its log. */
  async #listen(task) {
    const { link } = this;
    const items = new Map();
    const subscribe = { type: "subscribe", messages: [], events: [] };
    for (const item of this.asked.slice(0, MAX_ITEMS)) {
      const { type, key, ...more } = JSON.parse(item);
      const name = (type ?? "") + key;
      if (!items.has(name)) subscribe[type ? "events" : "messages"].push({ key, ...more });
      items.set(name, [...(items.get(name) ?? []), item]);
    }
    const token = await link.token();
    const query = token ? `?ticket=${encodeURIComponent(token)}` : "";
    if (task.woken || task.reason) return;
    const lived = await new Promise((resolve) => {
      const socket = new WebSocket(`${link.url.replace(/^http/, "ws")}/v1/ws${query}`);
      const send = (frame) => socket.send(JSON.stringify(frame));
      let since = 0;
      let timer;
      const end = () => {
        clearTimeout(timer);
        clearTimeout(life);
        socket.onmessage = socket.onclose = socket.onerror = null;
        socket.close();
        resolve(since && now() - since);
      };
      const life = setTimeout(end, link.options.websocket * 1000);
      const expect = (seconds) => {
        clearTimeout(timer);
        timer = setTimeout(end, seconds * 1000);
      };
      expect(GRACE);
      let ping = 20;
      task.abort = end;
      socket.onclose = socket.onerror = end;
      socket.onmessage = ({ data }) => {
        const frame = JSON.parse(data);
        const { type, key, cursor, event } = frame;
        if (type === "hello") {
          since = now();
          ping = frame.ping;
          task.report("connected");
          send(subscribe);
        } else if (type === "ping") send({ type: "pong" });
        else if (type === "messages") {
          const asked = items.get(key) ?? [];
          items.set(key, [moved(asked[0], frame)]);
          this.#publish(asked, asked.map(() => ({ ...frame, ready: true, type: undefined })));
          send({ type: "ack", key, cursor });
        } else if (type === "event") {
          const asked = items.get(`event${event}`) ?? [];
          this.#publish(asked, asked.map(() => ({ key: event, ready: true })));
        } else if (type === "error") return end();
        expect(ping + GRACE);
      };
    });
    if (!task.woken && !task.reason) link.websocketEnded(lived);
    task.woken = false;
  }
}

/**
 * @param {string} item
 * @param {{cursor?: string}} result
 * @returns {string} the item that follows when this result has been taken; "" for none
 */
function moved(item, result) {
  const { type, key, cursor } = JSON.parse(item);
  if (type) return result?.ready ? "" : item;
  return JSON.stringify({ key, cursor: result?.cursor ?? cursor });
}

/** Report an error of a callback as an uncaught one, and go on. */
function reportLater(error) {
  setTimeout(() => {
    throw error;
  });
}

/** A connection to triopoll. */
export class Triopoll extends EventTarget {
  #link;
  #feed;
  #id = randomId();
  #storage;
  #state;
  #cleanups = [];

  /** @param {import("./triopoll.d.ts").TriopollOptions} [options] */
  constructor(options = {}) {
    super();
    const given = {
      url: servedFrom(),
      transport: "auto",
      share: true,
      wait: 25,
      websocket: 600,
      credentials: "same-origin",
    };
    for (const [name, value] of Object.entries(options)) {
      if (value !== undefined) given[name] = value;
    }
    this.#storage = given.storage;
    this.#link = new Link(given, (state, error) => this.#report(state, error));
    this.#feed = new Feed(this.#link, given.share);
    this.#watchPage();
  }

  /** End all subscriptions and waits. */
  close() {
    for (const cleanup of this.#cleanups) cleanup();
    this.#feed.leave();
    for (const task of this.#link.tasks) this.#link.end(task);
    this.dispatchEvent(new CustomEvent("close"));
  }

  /**
   * Iterate over the messages of a key, or of several.
   * @param {string | string[]} keys
   * @param {import("./triopoll.d.ts").MessagesOptions} [options]
   */
  async *messages(keys, { cursor, signal, gap } = {}) {
    const queue = [];
    let notify = () => {};
    const push = (entry) => {
      queue.push(entry);
      notify();
    };
    const abort = () => push({ error: signal.reason });
    const close = () => push({ error: new DOMException("closed", "AbortError") });
    const subscriptions = [keys].flat().map((key) =>
      this.#subscription(key, cursor ?? this.#stored(key) ?? "new", queue, push),
    );
    try {
      signal?.throwIfAborted();
      signal?.addEventListener("abort", abort);
      this.addEventListener("close", close);
      for (const each of subscriptions) this.#feed.add(each);
      for (;;) {
        while (!queue.length) await new Promise((resolve) => (notify = resolve));
        const wasFull = queue.length >= MAX_QUEUE;
        const entry = queue.shift();
        if (wasFull) this.#feed.change();
        if (entry.error) throw entry.error;
        if (entry.gap) {
          gap?.(entry.gap);
          this.dispatchEvent(new CustomEvent("gap", { detail: entry.gap }));
        }
        if (entry.message) yield entry.message;
        // Stored when the consumer asks for more: what it did not finish comes again.
        this.#storage?.setItem(this.#storageKey(entry.key), entry.cursor);
      }
    } finally {
      signal?.removeEventListener("abort", abort);
      this.removeEventListener("close", close);
      for (const each of subscriptions) this.#feed.remove(each);
    }
  }

  #subscription(key, cursor, queue, push) {
    const seen = new Set();
    return {
      item: JSON.stringify({ key, cursor }),
      isFull: () => queue.length >= MAX_QUEUE,
      take: ({ messages, cursor: after, code, lost }) => {
        if (code === "gap") push({ key, cursor: after, gap: { key, lost, cursor: after } });
        for (const message of messages) {
          if (seen.has(message.id)) continue;
          seen.add(message.id);
          if (seen.size > MAX_QUEUE) seen.delete(seen.values().next().value);
          push({ key, cursor: message.id, message: { key, ...message } });
        }
        push({ key, cursor: after });
      },
      fail: (error) => push({ error }),
    };
  }

  #storageKey(key) {
    return `triopoll ${this.#link.url} ${key}`;
  }

  #stored(key) {
    return this.#storage?.getItem(this.#storageKey(key));
  }

  /**
   * Call back for each message of a key, or of several.
   * @param {string | string[]} keys
   * @param {import("./triopoll.d.ts").Handlers} handlers
   * @param {import("./triopoll.d.ts").SubscribeOptions} [options]
   * @returns {() => void} stops it
   */
  subscribe(keys, { message, gap, error, state }, options) {
    const controller = new AbortController();
    const { signal } = controller;
    const onState = ({ detail }) => state(detail.state, detail.error);
    if (state) this.addEventListener("state", onState, { signal });
    (async () => {
      try {
        for await (const each of this.messages(keys, { ...options, gap, signal })) {
          try {
            await message?.(each);
          } catch (thrown) {
            reportLater(thrown);
          }
        }
      } catch (refusal) {
        if (signal.aborted) return;
        if (error) error(refusal);
        else reportLater(refusal);
      }
    })();
    return () => controller.abort();
  }

  /**
   * Iterate over the states of a key, the last one included, then end.
   * @param {string} key
   * @param {string} pollSecret
   * @param {import("./triopoll.d.ts").StateOptions} [options]
   */
  async *state(key, pollSecret, { version = 0, signal } = {}) {
    const task = this.#task(signal);
    try {
      for (let state; !state?.final; ) {
        state = await this.#link.ask(task, () => {
          const { wait } = this.#link;
          const body = { key, version, timeout: wait, poll_secret: pollSecret };
          const isIdle = (shape) => shape.version <= version && !shape.final;
          const path = "/v1/states/wait";
          return { path, body: JSON.stringify(body), wait, open: true, isIdle };
        });
        if (state.version > version) {
          version = state.version;
          yield state;
        }
      }
    } finally {
      this.#link.end(task);
    }
  }

  /**
   * Acknowledge a final state: its data is deleted at the server.
   * @param {string} key
   * @param {string} pollSecret
   * @param {number} version
   */
  async ack(key, pollSecret, version) {
    const task = this.#task();
    const body = JSON.stringify({ key, version, poll_secret: pollSecret });
    try {
      await this.#link.ask(task, () => ({ path: "/v1/states/ack", body, open: true }));
    } finally {
      this.#link.end(task);
    }
  }

  /**
   * Wait until an event is set.
   * @param {string} key
   * @param {import("./triopoll.d.ts").EventOptions} [options]
   * @returns {Promise<boolean>} false if the timeout has passed
   */
  event(key, { default_type, timeout, signal } = {}) {
    return new Promise((resolve, reject) => {
      signal?.throwIfAborted();
      const item = JSON.stringify({ type: "event", key, default_type });
      const settle = (done, value) => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", abort);
        this.removeEventListener("close", close);
        this.#feed.remove(subscription);
        done(value);
      };
      const subscription = {
        item,
        take: () => settle(resolve, true),
        fail: (error) => settle(reject, error),
      };
      const abort = () => settle(reject, signal.reason);
      const close = () => settle(reject, new DOMException("closed", "AbortError"));
      const timer =
        timeout !== undefined && setTimeout(() => settle(resolve, false), timeout * 1000);
      signal?.addEventListener("abort", abort);
      this.addEventListener("close", close);
      this.#feed.add(subscription);
    });
  }

  /**
   * Iterate over the messages of a list by the poll API, which pops them.
   * @param {string} key
   * @param {{signal?: AbortSignal}} [options]
   */
  async *poll(key, { signal } = {}) {
    const task = this.#task(signal);
    try {
      for (;;) {
        const { data } = await this.#link.ask(task, () => {
          const { wait } = this.#link;
          const query = new URLSearchParams({ event: key, timeout: String(wait), session: this.#id + key });
          return { path: `/poll/message?${query}`, wait, isIdle: (shape) => shape.err_code === 504 };
        });
        // null: the event is set and the list is empty. The server delays repeated ones.
        if (data != null) yield { key, data };
      }
    } finally {
      this.#link.end(task);
    }
  }

  #task(signal) {
    const task = this.#link.task(signal);
    task.report = (state, error) => this.#report(state, error);
    return task;
  }

  /** @returns {boolean} whether it is another state than before */
  #report(state, error) {
    if (state === this.#state) return false;
    this.#state = state;
    this.dispatchEvent(new CustomEvent("state", { detail: { state, error } }));
    return true;
  }

  // --- page ----------------------------------------------------------------------------

  #watchPage() {
    const listen = (target, type, listener) => {
      target?.addEventListener?.(type, listener);
      this.#cleanups.push(() => target?.removeEventListener?.(type, listener));
    };
    const page = globalThis.document;
    const link = this.#link;
    let timer;
    let thaw;
    const wake = () => {
      timer ??= setTimeout(() => {
        timer = undefined;
        this.#feed.wake();
        for (const task of link.tasks) if (task !== this.#feed.task) task.restart();
      }, DEBOUNCE);
    };
    // A page in the back/forward cache may hold no lock and no connection.
    const freeze = () => {
      if (thaw) return;
      link.frozen = new Promise((resolve) => (thaw = resolve));
      this.#feed.leave();
      for (const task of link.tasks) task.restart();
    };
    const resume = () => {
      if (!thaw) return wake();
      link.frozen = undefined;
      thaw();
      thaw = undefined;
      this.#feed.join();
    };
    listen(globalThis, "online", wake);
    listen(globalThis, "pagehide", freeze);
    listen(globalThis, "pageshow", (event) => event.persisted && resume());
    listen(page, "freeze", freeze);
    listen(page, "resume", resume);
    listen(page, "visibilitychange", () => page.visibilityState === "visible" && wake());
    // After a sleep of the machine the clock has jumped. The timers of hidden pages may
    // be a minute late without that.
    let last = Date.now();
    const clock = setInterval(() => {
      const late = Date.now() - last - TICK;
      if (Math.abs(late) > (page?.visibilityState === "hidden" ? 90000 : 3000)) wake();
      last = Date.now();
    }, TICK);
    unref(clock);
    this.#cleanups.push(() => {
      clearInterval(clock);
      clearTimeout(timer);
    });
  }
}

/** @returns {string} the address of the server that this module was loaded from */
function servedFrom() {
  const match = /^(https?:.*)\/js\/[^/]+\/triopoll\.js/.exec(import.meta.url);
  return match ? match[1] : (globalThis.location?.origin ?? "");
}
