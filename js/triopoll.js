/**
 * Browser client of triopoll: messages, states, events and the poll API.
 *
 * - `Link` sends requests: it renews tickets, repeats what has failed, and knows whether
 *   polls get through.
 * - `Feed` holds the subscriptions. The feeds of all tabs with one ticket subject elect
 *   a leader (Web Locks). The leader waits at the server for the subscriptions of all
 *   tabs, in one request, and sends the results to the others (BroadcastChannel).
 * - `Triopoll` is the public interface, and watches the page.
 *
 * Times are seconds of one monotonic clock, except where they are those of a timer.
 *
 * @module triopoll
 */

/** Seconds that an answer may come late before its request is given up. */
const GRACE = 10;
/** A poll that fails in less was refused, not cut. */
const CUT_AFTER = 0.5;
/** Polls in a row that are cut before a websocket is tried. */
const MAX_CUTS = 3;
/** Seconds that a websocket must live to have worked. */
const MIN_LIFE = 5;
/** Seconds for which websockets are avoided after one has failed. */
const BLOCK = 300;
const HOUR = 3600;
/** Items of one `/v1/wait` (a limit of the server). */
const MAX_ITEMS = 50;
/** Messages that a slow consumer may have before it, and ids that are remembered. */
const MAX_QUEUE = 1000;
/** Seconds between two roll calls; tabs that miss one are forgotten at the next. */
const ROLL_CALL = 20;
/** Seconds from what wakes the page to the new request. */
const DEBOUNCE = 0.3;
/** Seconds between two looks at the clock, and by how much they may be late. */
const TICK = 2;
const LATE = 3;
const LATE_HIDDEN = 90;

const now = () => performance.now() / 1000;
// The longest delay that a timer can have is 2^31 - 1 ms.
const later = (seconds, action) => setTimeout(action, Math.min(seconds * 1000, 2 ** 31 - 1));
const randomId = () => Math.random().toString(36).slice(2);
/** An error as it passes through a BroadcastChannel. */
const plain = (error) => ({ ...error, message: error.message });
const closed = () => new DOMException("closed", "AbortError");

/** A refusal of the server. */
export class TriopollError extends Error {
  name = "TriopollError";

  /**
   * @param {number} status HTTP status, or `err_code` of the poll API
   * @param {string} [code]
   * @param {string} [message]
   */
  constructor(status, code, message) {
    super(message || code || `HTTP ${status}`);
    this.status = status;
    this.code = code;
  }
}

/**
 * One loop of requests.
 *
 * - `notBefore`: the server wants no request before it. A restart does not shorten that.
 * - `woken`: restarted since the last attempt began, so the next one is due at once.
 * - `reason`: it has been stopped; what it throws.
 */
class Task {
  notBefore = 0;

  restart() {
    this.woken = true;
    if (!this.held) this.abort?.();
  }

  stop(reason = closed()) {
    this.reason ??= reason;
    this.abort?.();
  }

  /** Sleep until the task is stopped, or restarted if it is not held. */
  async sleep(seconds, held) {
    if (this.reason || !(seconds > 0)) return;
    this.held = held;
    await new Promise((resolve) => {
      const timer = later(seconds, resolve);
      this.abort = () => resolve(clearTimeout(timer));
    });
    this.held = false;
  }
}

/** Requests to one server. */
class Link {
  tasks = new Set();
  #cuts = 0;
  #blockedUntil = 0;
  #shortUntil = 0;
  #shortWait;
  #ticket;
  #served;

  constructor(options) {
    Object.assign(this, options);
  }

  task(signal, report = this.report) {
    const task = new Task();
    task.report = report;
    this.tasks.add(task);
    const stop = () => task.stop(signal.reason);
    if (signal?.aborted) stop();
    signal?.addEventListener("abort", stop, { once: true });
    return task;
  }

  end(task) {
    this.tasks.delete(task);
    task.stop();
  }

  /** The ticket. All requests share one call of the application's function. */
  ticket() {
    const { source } = this;
    return (this.#ticket ??= Promise.resolve()
      .then(() => (typeof source === "function" ? source() : source))
      .catch((error) => {
        this.#ticket = undefined;
        throw error;
      }));
  }

  // --- transport -----------------------------------------------------------------------

  get wait() {
    return now() < this.#shortUntil ? Math.min(this.#shortWait, this.longest) : this.longest;
  }

  get #maySocket() {
    return this.transport !== "poll" && globalThis.WebSocket && now() >= this.#blockedUntil;
  }

  get socketIsNext() {
    return this.#maySocket && (this.#cuts >= MAX_CUTS || this.transport === "websocket");
  }

  #pollCut(lasted) {
    if (++this.#cuts > 1 && !this.#maySocket) {
      this.#shortWait = Math.max(1, lasted * 0.7);
      this.#shortUntil = now() + HOUR;
    }
  }

  /** `lived`: seconds since the server's first frame; 0 if there was none. */
  socketEnded(lived) {
    // A poll is next. If that is cut, one cut is enough to return to a websocket.
    if (lived > MIN_LIFE) this.#cuts = MAX_CUTS - 1;
    else this.#blockedUntil = now() + BLOCK;
  }

  // --- requests ------------------------------------------------------------------------

  /**
   * Send a request, and again until the server has answered it.
   *
   * @param {Task} task
   * @param {(wait: number) => object | undefined} make called for each attempt with the
   *   seconds that it should wait; returns `path`, `body`, `wait`, `open` (it needs no
   *   ticket) and `isIdle` (whether an answer is that of a wait that has ended); undefined
   *   if there is nothing to ask any more
   * @returns {Promise<any>} the JSON of the answer
   * @throws {TriopollError} a refusal that is final
   */
  ask(task, make) {
    return this.retry(task, async (failures) => {
      // After a failure a short wait shows soon that the server answers again.
      const request = make(failures ? 1 : this.wait);
      if (!request) return;
      task.ticket = request.open ? undefined : await this.ticket();
      return this.#send(task, request);
    });
  }

  /** Repeat an action until it succeeds, or fails for good. */
  async retry(task, action) {
    let failures = 0;
    let delay = 0;
    let denied;
    for (;;) {
      await task.sleep(task.notBefore - now(), true);
      if (!task.woken) await task.sleep(delay);
      await this.frozen;
      if (task.reason) throw task.reason;
      task.woken = false;
      try {
        const result = await action(failures);
        task.report("connected");
        return result;
      } catch (error) {
        if (task.reason) throw task.reason;
        if (task.woken) continue;
        const { status, code } = error;
        if (
          [403, 409, 410].includes(status) ||
          (status === 401 && denied) ||
          (status === 400 && code) ||
          // Some proxies answer 404 for a server that restarts.
          (status === 404 && (code || !this.#served))
        ) {
          throw error;
        }
        if (status === 401) {
          denied = true;
          // Another request may have renewed it already.
          if ((await this.#ticket) === task.ticket) this.#ticket = undefined;
          continue;
        }
        task.report("retrying", error);
        // The first delay is below a second. Of the others one half is fixed, so that a
        // short outage sees few requests. The jitter is applied after the limit.
        const limit = Math.min(30, 2 ** failures);
        delay = failures++ ? (limit * (1 + Math.random())) / 2 : Math.random();
      }
    }
  }

  async #send(task, { path, body, wait = 0, isIdle }) {
    const { ticket } = task;
    const controller = new AbortController();
    task.abort = () => controller.abort();
    if (task.woken || task.reason) task.abort();
    const timer = later(wait + GRACE, () => controller.abort(new TriopollError(504)));
    const since = now();
    try {
      const response = await fetch(this.url + path, {
        method: body ? "POST" : "GET",
        body,
        headers: ticket ? { authorization: `Bearer ${ticket}` } : {},
        credentials: this.credentials,
        signal: controller.signal,
      });
      // The poll API has its status in the body. What is not JSON is not of triopoll.
      const shape = await response.json().catch(() => ({ err_code: response.status === 200 && 502 }));
      const status = shape.err_code || response.status;
      const after = response.headers.get("retry-after");
      const bound = Math.max(
        +after || (Date.parse(after) - Date.now()) / 1000 || 0,
        shape.retry_ms / 1000 || 0,
      );
      task.notBefore = now() + Math.min(bound, HOUR);
      // In the poll API, 504 is the end of a wait.
      if (status > 299 && !(status === 504 && shape.err_message)) {
        throw new TriopollError(status, shape.code ?? shape.err_message, shape.message);
      }
      if (isIdle?.(shape) && !bound && shape.code !== "draining") {
        const granted = Math.min(wait, shape.wait ?? wait);
        if (now() - since < granted / 2) throw new TriopollError(502, "", "early");
      }
      if (wait >= this.wait) this.#cuts = 0;
      this.#served = true;
      return shape;
    } catch (error) {
      const lasted = now() - since;
      if (wait && !error.code && lasted > CUT_AFTER && !task.woken) this.#pollCut(lasted);
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }
}

/**
 * The subscriptions of this tab, and who asks the server for them.
 *
 * An item is the JSON of an item of `/v1/wait`: a key with a cursor, or an event. The tabs
 * name what they wait for by it, so whoever waits for the same has the same item, and a
 * result moves all of them on (`moved`). A subscription has its `item`, and `take(result)`,
 * `fail(error)` and `isFull()`.
 */
class Feed {
  #subscriptions = new Set();
  /** The items of the other tabs, by the id of the tab, and when it was heard. */
  #tabs = new Map();
  #id = randomId();
  #asked = [];
  #task;
  #channel;
  #share;
  #isLeader;
  #isChanging;
  #restarted = 0;

  constructor(link, share) {
    this.link = link;
    this.#share = share && globalThis.navigator?.locks && globalThis.BroadcastChannel;
  }

  add(subscription, signal) {
    const abort = () => {
      this.remove(subscription);
      subscription.fail(signal.reason);
    };
    if (signal?.aborted) return abort();
    signal?.addEventListener("abort", abort, { once: true });
    this.#subscriptions.add(subscription);
    this.join();
    this.change();
  }

  remove(subscription) {
    this.#subscriptions.delete(subscription);
    if (this.#subscriptions.size) this.change();
    else this.leave();
  }

  /** Take part in the election, and lead once this tab is elected or is alone. */
  async join() {
    if (this.#task || !this.#subscriptions.size) return;
    const { link } = this;
    const task = (this.#task = link.task(undefined, (state, error) => {
      link.report(state, error);
      this.#post({ state, error: error && plain(error) });
    }));
    const election = new AbortController();
    task.leave = () => election.abort();
    const lead = () => this.#lead(task);
    try {
      if (!this.#share) return await lead();
      const name = `triopoll ${link.url} ${await link.retry(task, () => this.#subject())}`;
      if (task.reason) return;
      this.#channel = new BroadcastChannel(name);
      this.#channel.onmessage = ({ data }) => this.#hear(data);
      this.#tell(true);
      await navigator.locks.request(name, election, lead);
    } catch (error) {
      if (task.reason) return;
      if (error.name === "SecurityError") {
        // A sandboxed frame has no locks.
        this.#share = false;
        this.leave();
        this.join();
      } else this.fail(error);
    }
  }

  /** Leave the election, or leadership: another tab leads then at once. */
  leave() {
    const task = this.#task;
    if (!task) return;
    this.#post({ tab: this.#id, items: [] });
    this.#channel?.close();
    this.#task = this.#channel = this.#isLeader = undefined;
    this.#tabs.clear();
    this.link.end(task);
    task.leave();
  }

  /** End all subscriptions of this tab. The other tabs find out for themselves. */
  fail(error) {
    const failed = [...this.#subscriptions];
    this.#subscriptions.clear();
    this.leave();
    for (const subscription of failed) subscription.fail(error);
  }

  /** What all tickets of a subject have in common. */
  async #subject() {
    const ticket = await this.link.ticket();
    try {
      const claims = ticket.split(".")[1].replace(/-/g, "+").replace(/_/g, "/");
      const { sub, keys } = JSON.parse(atob(claims));
      return sub ?? keys;
    } catch {
      return ticket ?? "";
    }
  }

  // --- between the tabs ----------------------------------------------------------------

  #post(message) {
    this.#channel?.postMessage(message);
  }

  #tell(isNew) {
    this.#post({ tab: this.#id, items: this.#own(), isNew });
  }

  #hear({ tab, items, isNew, results, refused, state, error, call, wake }) {
    if (tab) {
      if (items.length) this.#tabs.set(tab, { items, heard: now() });
      else this.#tabs.delete(tab);
      this.#restartIfChanged();
    }
    if (isNew || call) this.#tell();
    if (results) this.#apply(results);
    if (refused) this.#refuse(refused, error);
    if (state) this.link.report(state, error);
    // Several tabs wake up at the same moment.
    if (wake && this.#isLeader && now() - this.#restarted > DEBOUNCE) {
      this.#restarted = now();
      this.#task.restart();
    }
  }

  /** Let the leader abort its request and ask again, if that is another tab. */
  wake() {
    this.#restarted = now();
    this.#post({ wake: true });
  }

  /** Note that the items of this tab have changed. */
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
    const wanted = this.#wanted();
    const { length } = this.#asked;
    if (this.#isLeader && !(wanted.length === length && wanted.every((item) => this.#asked.includes(item)))) {
      this.#task.restart();
    }
  }

  /** The subscriptions with an item; those that pause stay where they are. */
  #waitingFor(item) {
    const isWaiting = (each) => !each.isFull?.() && each.item === (item ?? each.item);
    return [...this.#subscriptions].filter(isWaiting);
  }

  #own() {
    return this.#waitingFor().map((each) => each.item);
  }

  #wanted() {
    const others = [...this.#tabs.values()].flatMap((tab) => tab.items);
    return [...new Set([...this.#own(), ...others])];
  }

  // --- leading -------------------------------------------------------------------------

  async #lead(task) {
    if (task.reason) return;
    this.#isLeader = true;
    let called = -HOUR;
    for (let turn = 0; !task.reason; turn++) {
      if (now() - called > ROLL_CALL) {
        for (const [id, { heard }] of this.#tabs) if (heard < called) this.#tabs.delete(id);
        called = now();
        this.#post({ call: true });
      }
      const { length } = (this.#asked = this.#wanted());
      if (!length) await task.sleep(HOUR);
      // A websocket begins where all items are at the head of their logs.
      else if (length > MAX_ITEMS || !this.link.socketIsNext) await this.#poll(task, turn);
      else if (!(await this.#poll(task, turn, 0))) await this.#listen(task);
    }
  }

  /** Ask once; return whether something was ready. */
  async #poll(task, turn, longest = HOUR) {
    let asked = [];
    try {
      const answer = await this.link.ask(task, (wait) => {
        const wanted = (this.#asked = this.#wanted());
        const { length } = wanted;
        if (!length) return;
        asked = wanted;
        if (length > MAX_ITEMS) {
          // They take turns, with short waits.
          longest = Math.min(longest, 1);
          asked = wanted.slice((turn * MAX_ITEMS) % length).slice(0, MAX_ITEMS);
        }
        // "new" becomes a cursor at once: a wait that is aborted would lose its position.
        const isNew = asked.some((item) => item.includes('"cursor":"new"'));
        return this.#request(asked, isNew ? 0 : Math.min(wait, longest));
      });
      return this.#publish(asked, answer?.items);
    } catch (error) {
      await this.#sift(task, asked, error);
      return true;
    }
  }

  #request(items, wait) {
    return {
      path: `/v1/wait?session=${this.#id}`,
      body: `{"items":[${items}],"timeout":${wait}}`,
      wait,
      isIdle: (shape) => !shape.items.some(({ ready }) => ready),
    };
  }

  /** Find the items because of which a request was refused. */
  async #sift(task, items, error) {
    if (![400, 403].includes(error.status)) throw error;
    if (items.length < 2) {
      this.#post({ refused: items[0], error: plain(error) });
      return this.#refuse(items[0], error);
    }
    for (const item of items) {
      try {
        const answer = await this.link.ask(task, () => this.#request([item], 0));
        this.#publish([item], answer.items);
      } catch (refusal) {
        await this.#sift(task, [item], refusal);
      }
    }
  }

  /** Give results to all tabs; return whether one was ready. */
  #publish(asked, answers = []) {
    // What is not ready may have moved: the cursor of an empty log does each time.
    const results = asked.map((item, index) => [item, answers[index]]);
    this.#post({ results });
    this.#apply(results);
    return answers.some(({ ready }) => ready);
  }

  #apply(results) {
    for (const [item, result] of results) {
      const next = moved(item, result);
      if (next === item) continue;
      this.#replace(item, next);
      for (const subscription of this.#waitingFor(item)) {
        subscription.item = next;
        subscription.take(result);
      }
    }
  }

  /** Put an item in the place of another, in all that is known of the tabs. */
  #replace(item, next) {
    const replaced = (items) =>
      items.map((each) => (each === item ? next : each)).filter((each) => each);
    this.#asked = replaced(this.#asked);
    for (const tab of this.#tabs.values()) tab.items = replaced(tab.items);
  }

  /** The server refuses an item to the leader. */
  #refuse(item, { status, code, message }) {
    const isLeader = this.#isLeader;
    if (code === "bad_cursor") {
      // What was stored is none; how much is missing cannot be known.
      const result = { code: "gap", lost: null, messages: [], cursor: "all" };
      return this.#apply([[item, result]]);
    }
    this.#replace(item);
    for (const subscription of this.#waitingFor(item)) {
      this.remove(subscription);
      if (isLeader) subscription.fail(new TriopollError(status, code, message));
      // The ticket of this tab may cover it.
      else new Feed(this.link).add(subscription);
    }
  }

  /** Follow the items over a websocket until it ends. */
  async #listen(task) {
    const { link } = this;
    const ticket = await link.ticket();
    if (task.woken || task.reason) return;
    const items = {};
    const messages = [];
    const events = [];
    for (const item of this.#asked) {
      const shape = JSON.parse(item);
      const { type = "messages", key } = shape;
      const name = type + key;
      if (!items[name]) (type === "event" ? events : messages).push({ ...shape, type: undefined });
      (items[name] ??= []).push(item);
    }
    const lived = await new Promise((resolve) => {
      const query = ticket ? `?ticket=${encodeURIComponent(ticket)}` : "";
      const socket = new WebSocket(`${link.url.replace(/^http/, "ws")}/v1/ws${query}`);
      const send = (frame) => socket.send(JSON.stringify(frame));
      let since = 0;
      let timer;
      let ping = 20;
      const end = () => {
        clearTimeout(timer);
        clearTimeout(life);
        socket.onmessage = socket.onclose = null;
        socket.close();
        resolve(since && now() - since);
      };
      // Back to polls after a while: the network may have changed.
      const life = later(link.life, end);
      const expect = () => {
        clearTimeout(timer);
        timer = later(ping + GRACE, end);
      };
      expect();
      task.abort = socket.onclose = end;
      socket.onmessage = ({ data }) => {
        const frame = JSON.parse(data);
        const { type, key = frame.event, cursor } = frame;
        const name = type + key;
        if (type === "hello") {
          since = now();
          ({ ping } = frame);
          task.report("connected");
          send({ type: "subscribe", messages, events });
        } else if (type === "ping") send({ type: "pong" });
        else if (items[name]) {
          const result = { ...frame, ready: true };
          const asked = items[name];
          items[name] = [moved(asked[0], result)];
          this.#publish(asked, asked.map(() => result));
          if (cursor) send({ type: "ack", key, cursor });
        } else if (type === "error") return end();
        expect();
      };
    }).catch(() => 0);
    if (!task.woken && !task.reason) link.socketEnded(lived);
  }
}

/** The item that follows once a result was taken; none after an event. */
function moved(item, result = {}) {
  const { type, key, cursor } = JSON.parse(item);
  if (type) return result.ready ? undefined : item;
  return JSON.stringify({ key, cursor: result.cursor ?? cursor });
}

/** Report an error of a callback as an uncaught one, and go on. */
function reportLater(error) {
  later(0, () => {
    throw error;
  });
}

/** A connection to triopoll. */
export class Triopoll extends EventTarget {
  #link;
  #feed;
  #storage;
  #state;
  #closing = new AbortController();

  /** @param {import("./triopoll.d.ts").TriopollOptions} [options] */
  constructor({
    url = servedFrom(),
    ticket,
    storage,
    transport,
    share = true,
    wait = 25,
    websocket = 600,
    credentials = "same-origin",
    pauseHidden,
  } = {}) {
    super();
    this.#storage = storage;
    this.#link = new Link({
      url: url.replace(/\/$/, ""),
      source: ticket,
      transport,
      longest: wait,
      life: websocket,
      credentials,
      report: (state, error) => {
        if (state !== this.#state) this.#emit("state", { state: (this.#state = state), error });
      },
    });
    this.#feed = new Feed(this.#link, share);
    this.#watchPage(pauseHidden);
  }

  /** End all subscriptions and waits; they throw an `AbortError`. */
  close() {
    this.#closing.abort();
    this.#feed.fail(closed());
    for (const task of this.#link.tasks) task.stop();
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  /**
   * Iterate over the messages of a key, or of several.
   *
   * @param {string | string[]} keys
   * @param {import("./triopoll.d.ts").MessagesOptions} [options]
   * @returns {AsyncGenerator<import("./triopoll.d.ts").Message, never>}
   */
  async *messages(keys, { cursor, signal, gap } = {}) {
    const storage = this.#storage;
    const feed = this.#feed;
    const queue = [];
    let notify = () => {};
    const push = (entry) => {
      if (queue.push(entry) === MAX_QUEUE) feed.change();
      notify();
    };
    const subscriptions = [keys].flat().map((key) => {
      const name = `triopoll ${this.#link.url} ${key}`;
      const seen = new Set();
      return {
        item: JSON.stringify({ key, cursor: cursor ?? storage?.getItem(name) ?? "new" }),
        isFull: () => queue.length >= MAX_QUEUE,
        take({ messages, cursor, code, lost }) {
          if (code === "gap") push({ lost: { key, lost, cursor } });
          for (const message of messages) {
            const { id } = message;
            if (seen.has(id)) continue;
            seen.add(id);
            if (seen.size > MAX_QUEUE) seen.delete(seen.values().next().value);
            push({ name, cursor: id, message: { key, ...message } });
          }
          push({ name, cursor });
        },
        fail: (error) => push({ error }),
      };
    });
    try {
      for (const each of subscriptions) {
        feed.add(each, signal);
        // One failure is enough: it ends the loop, and with it all of them.
        signal = undefined;
      }
      for (;;) {
        while (!queue.length) await new Promise((resolve) => (notify = resolve));
        const { error, lost, message, name, cursor } = queue.shift();
        if (queue.length === MAX_QUEUE - 1) feed.change();
        if (error) throw error;
        if (lost) {
          gap?.(lost);
          this.#emit("gap", lost);
        }
        if (message) yield message;
        // The consumer asks for more: it has dealt with this one.
        if (name) storage?.setItem(name, cursor);
      }
    } finally {
      for (const each of subscriptions) feed.remove(each);
    }
  }

  /**
   * Call back for each message of a key, or of several.
   *
   * @param {string | string[]} keys
   * @param {import("./triopoll.d.ts").Handlers} handlers
   * @param {import("./triopoll.d.ts").SubscribeOptions} [options]
   * @returns {() => void} stops it
   */
  subscribe(keys, { message, gap, error = reportLater, state }, options) {
    const controller = new AbortController();
    const { signal } = controller;
    if (state) {
      this.addEventListener("state", ({ detail }) => state(detail.state, detail.error), { signal });
    }
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
        if (refusal.name !== "AbortError") error(refusal);
      }
    })();
    return () => controller.abort();
  }

  /**
   * Iterate over the states of a key, up to the final one.
   *
   * @param {string} key
   * @param {string} pollSecret
   * @param {import("./triopoll.d.ts").StateOptions} [options]
   * @returns {AsyncGenerator<import("./triopoll.d.ts").State, void>}
   */
  async *state(key, pollSecret, { version = 0, signal } = {}) {
    const states = this.#answers(signal, (wait) => ({
      path: "/v1/states/wait",
      body: JSON.stringify({ key, version, timeout: wait, poll_secret: pollSecret }),
      wait,
      open: true,
      isIdle: (shape) => shape.version <= version && !shape.final,
    }));
    for await (const state of states) {
      if (state.version > version) {
        ({ version } = state);
        yield state;
      }
      if (state.final) return;
    }
  }

  /**
   * Acknowledge a final state: the server deletes its data.
   *
   * @param {string} key
   * @param {string} pollSecret
   * @param {number} version
   * @param {{signal?: AbortSignal}} [options]
   */
  async ack(key, pollSecret, version, { signal } = {}) {
    const body = JSON.stringify({ key, version, poll_secret: pollSecret });
    const answers = this.#answers(signal, () => ({ path: "/v1/states/ack", body, open: true }));
    for await (const answer of answers) return void answer;
  }

  /**
   * Wait until an event is set.
   *
   * @param {string} key
   * @param {import("./triopoll.d.ts").EventOptions} [options]
   * @returns {Promise<boolean>} false if the timeout has passed
   */
  event(key, { default_type, timeout = Infinity, signal } = {}) {
    return new Promise((resolve, reject) => {
      const settle = (done, value) => {
        clearTimeout(timer);
        this.#feed.remove(subscription);
        done(value);
      };
      const subscription = {
        item: JSON.stringify({ type: "event", key, default_type }),
        take: () => settle(resolve, true),
        fail: (error) => settle(reject, error),
      };
      const timer = later(timeout, () => settle(resolve, false));
      this.#feed.add(subscription, signal);
    });
  }

  /**
   * Iterate over the messages of a list by the poll API, which pops them.
   *
   * @param {string} key
   * @param {{signal?: AbortSignal}} [options]
   * @returns {AsyncGenerator<{key: string, data: string}, never>}
   */
  async *poll(key, { signal } = {}) {
    // A session has one wait, so each loop has a session.
    const session = randomId();
    const answers = this.#answers(signal, (wait) => ({
      path: `/poll/message?event=${encodeURIComponent(key)}&timeout=${wait}&session=${session}`,
      wait,
      isIdle: (shape) => shape.err_code === 504,
    }));
    for await (const { data } of answers) {
      // null: the event is set and the list is empty. The server delays repeated ones.
      if (data != null) yield { key, data };
    }
  }

  /** The answers to a request that is repeated. */
  async *#answers(signal, make) {
    const link = this.#link;
    const task = link.task(signal);
    try {
      for (;;) yield await link.ask(task, make);
    } finally {
      link.end(task);
    }
  }

  // --- page ----------------------------------------------------------------------------

  #watchPage(pauseHidden) {
    const page = globalThis.document;
    const link = this.#link;
    const feed = this.#feed;
    const { signal } = this.#closing;
    const listen = (target, type, listener) =>
      target?.addEventListener?.(type, listener, { signal });
    let timer;
    let thaw;
    const wake = () => {
      timer ??= later(DEBOUNCE, () => {
        timer = undefined;
        feed.wake();
        for (const task of link.tasks) task.restart();
      });
    };
    // A page that holds a lock or a connection may not enter the back/forward cache.
    const freeze = () => {
      link.frozen ??= new Promise((resolve) => (thaw = resolve));
      feed.leave();
      for (const task of link.tasks) task.restart();
    };
    const resume = () => {
      if (!link.frozen) return wake();
      link.frozen = undefined;
      thaw();
      feed.join();
    };
    listen(globalThis, "online", wake);
    listen(globalThis, "pagehide", freeze);
    listen(globalThis, "pageshow", (event) => event.persisted && resume());
    listen(page, "freeze", freeze);
    listen(page, "resume", resume);
    listen(page, "visibilitychange", () => {
      if (!page.hidden) resume();
      else if (pauseHidden) freeze();
    });
    // The clock jumps when the machine has slept. Timers of hidden pages are late anyway.
    let last = Date.now();
    const clock = setInterval(() => {
      const late = Math.abs(Date.now() - last) / 1000 - TICK;
      last = Date.now();
      if (late > (page?.hidden ? LATE_HIDDEN : LATE)) wake();
    }, TICK * 1000);
    clock.unref?.();
    signal.onabort = () => clearInterval(clock);
  }
}

/** The address of the server that this module was loaded from. */
function servedFrom() {
  const match = /^(http.*)\/js\/[^/]+\/triopoll\.js/.exec(import.meta.url);
  return match?.[1] ?? globalThis.location?.origin ?? "";
}
