// The admin page: asks /admin/api every few seconds, and shows what it says. Keys,
// subjects and messages come from strangers: they are only ever set as text.

import { element, memory } from "./backend.js";
import { escaped, facts, plots, seconds, since, table } from "./admin-view.js";

const PERIOD = 3000;
const operator = memory("operator-key");

let paused = false;
// What is shown of one key: its name, and the pages that were added by a button.
let shown = null;
let timer = 0;

class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** Return the JSON of an answer; `query` or `body` may be left out. */
async function ask(path, query = {}, body) {
  const search = new URLSearchParams(query).toString();
  const response = await fetch(`admin/api/${path}${search && "?"}${search}`, {
    method: body ? "POST" : "GET",
    headers: { authorization: `Bearer ${operator.load()}` },
    body: body && JSON.stringify(body),
    cache: "no-store",
  });
  const shape = await response.json().catch(() => ({}));
  if (response.ok) return shape;
  throw new Refused(response.status, shape.message ?? `HTTP ${response.status}`);
}

// --- the overview --------------------------------------------------------------------

function showOverview(found) {
  plots("plots", found.rates, found.rate_seconds);
  const { waits } = found;
  element("waits-total").textContent =
    `${waits.total} of ${found.waits_limit} waits, for at least ${waits.distinct_keys} keys.`;
  table("kinds", "By kind", ["kind", "waits"], Object.entries(waits.kinds));
  const bounds = found.ages.map((age, at) =>
    at + 1 < found.ages.length ? `${age} to ${found.ages[at + 1]} s` : `over ${age} s`,
  );
  table("ages", "By age", ["age", "waits"], waits.ages.map((n, at) => [bounds[at], n]));
  const prefixes = Object.entries(waits.prefixes).slice(0, 20);
  const named = prefixes.map(([prefix, n]) => [prefix || "(no prefix)", n]);
  table("prefixes", "By prefix", ["prefix", "waits"], named);
  const keys = Object.entries(waits.keys).slice(0, 20);
  table("keys", "Keys with most waits", ["key", "waits"], keys, look);
  showStates(found.states);
  table("refusals", "Refused requests", ["code", "requests"], Object.entries(found.refusals));
  table("ended", "Ended waits", ["reason", "waits"], Object.entries(found.ended));
  table("published-items", "Published", ["type", "items"], Object.entries(found.published));
  showBackends(found);
}

function showStates(states) {
  element("confirm").textContent = states.confirmed
    ? `Median from scan to confirmation: ${seconds(states.confirm_median)}, of the last ${states.confirmed}.`
    : "No state was scanned and confirmed yet.";
  table("stages", "Waited for, by state", ["state", "waits"], Object.entries(states.waiting));
  table("state-events", "Since the start", ["event", "states"], Object.entries(states.events));
}

function showBackends({ slock, redis, workers, worker }) {
  const state = slock.up ? (slock.refuses ? "refuses new keys" : "answers") : "does not answer";
  facts("slock", {
    slock: `${slock.address} ${state}`,
    "round trip": slock.round_trip && seconds(slock.round_trip),
    leader: slock.leader,
    "last change of leader": slock.leader && since(slock.leader_changed_at),
    error: slock.error,
  });
  const members = slock.members.map((each) => [each.address, each.role, each.error ?? ""]);
  table("members", "Members of slock", ["address", "role", "error"], members);
  const servers = redis.servers.map(([address, fault, reason, changes, changedAt]) => [
    address,
    fault ? `${fault}: ${reason}` : "primary, serves",
    changes,
    since(changedAt),
  ]);
  facts("redis", {
    Redis: servers.length ? "" : "none in use: messages are in memory, or nothing was asked yet",
    latency: redis.latency && seconds(redis.latency),
  });
  const columns = ["address", "state", "failovers and restarts", "the last one"];
  table("servers", "Redis", columns, servers);
  const rows = workers.map((each) =>
    each.answered
      ? [each.name, each.waits, seconds(each.uptime), each.slock_up ? "answers" : "is away", each.redis_fault || "serves or none"]
      : [each.name, "does not answer", "", "", ""],
  );
  const caption = `Workers; slock and Redis above are as worker ${worker} sees them`;
  table("workers", caption, ["worker", "waits", "up for", "slock", "Redis"], rows);
}

// --- one key -------------------------------------------------------------------------

async function look(key) {
  shown = { key, waiters: [], messages: [] };
  element("key").value = key;
  element("one-key").hidden = true;
  element("published").textContent = "";
  await guarded("key-error", async () => {
    await Promise.all([refreshKey(), moreWaiters(""), olderMessages("")]);
    element("one-key").hidden = false;
    element("key-title").focus();
  });
}

async function refreshKey() {
  const asked = shown;
  const found = await ask("key", { key: asked.key });
  if (asked !== shown) return;
  facts("key-facts", {
    key: found.key,
    "head of its log": found.head ?? "there is no log",
    "messages in it": String(found.stored),
    waits: String(found.waits),
    "the oldest": found.waits ? seconds(found.oldest) : "",
  });
  const cursors = found.cursors.map((each) => [
    each.position || "(none)",
    each.waits,
    each.lag === null ? "not known" : each.lag,
  ]);
  table("cursors", "Cursors of its waiters", ["cursor", "waits", "messages behind"], cursors);
}

async function moreWaiters(page) {
  const asked = shown;
  const found = await ask("waiters", { key: asked.key, page });
  if (asked !== shown) return;
  asked.page = found.next;
  asked.waiters.push(...found.waiters);
  element("more-waiters").hidden = !found.next;
  const rows = asked.waiters.map((each) => [
    each.subject ?? "(no ticket)",
    each.kind,
    seconds(each.age),
    each.position ?? "",
  ]);
  table("waiters", "Waiters, as of now", ["subject", "kind", "waits for", "cursor"], rows);
}

async function olderMessages(before) {
  const asked = shown;
  const found = await ask("messages", { key: asked.key, before });
  if (asked !== shown) return;
  asked.before = found.next;
  asked.messages.push(...found.messages);
  element("older").hidden = !found.next;
  const rows = asked.messages.map((each) => [
    since(each.ts),
    each.is_cut ? `${each.text} … (${each.size} bytes)` : each.text,
    each.id,
  ]);
  table("messages", "Messages, the newest first", ["published", "message", "id"], rows);
}

async function publish(event) {
  event.preventDefault();
  await guarded("key-error", async () => {
    const { key } = shown;
    const made = await ask("publish", {}, { key, data: element("data").value });
    shown.messages = [];
    await Promise.all([refreshKey(), olderMessages("")]);
    const woken = made.woken ? "and the waits are woken" : "but no wait could be woken";
    element("published").textContent = `Published as ${escaped(made.id)}, ${woken}.`;
  });
}

// --- asking again and again ----------------------------------------------------------

/** Run it; say what it was refused with. A key that is not known is forgotten. */
async function guarded(where, run) {
  try {
    await run();
    element(where).textContent = "";
  } catch (error) {
    if (error.status === 401) return signOut(error.message);
    const refused = error instanceof Refused;
    element(where).textContent = refused ? error.message : "The server does not answer.";
  }
}

async function refresh() {
  if (!paused && !document.hidden) {
    await guarded("error", async () => {
      showOverview(await ask("overview"));
      element("overview").hidden = false;
      element("status").textContent = `As of ${new Date().toLocaleTimeString()}.`;
    });
    if (shown && operator.load()) await guarded("key-error", refreshKey);
  }
  if (operator.load()) timer = setTimeout(refresh, PERIOD);
}

function start() {
  element("sign-in").hidden = true;
  clearTimeout(timer);
  refresh();
}

function signOut(message) {
  operator.clear();
  clearTimeout(timer);
  shown = null;
  element("overview").hidden = element("one-key").hidden = true;
  element("sign-in").hidden = false;
  element("error").textContent = message;
  element("operator-key").focus();
}

element("sign-in").onsubmit = (event) => {
  event.preventDefault();
  operator.save(element("operator-key").value.trim());
  element("operator-key").value = "";
  start();
};
element("sign-out").onclick = () => signOut("");
element("pause").onclick = () => {
  paused = !paused;
  element("pause").setAttribute("aria-pressed", String(paused));
};
element("look").onsubmit = (event) => {
  event.preventDefault();
  look(element("key").value);
};
element("more-waiters").onclick = () => guarded("key-error", () => moreWaiters(shown.page));
element("older").onclick = () => guarded("key-error", () => olderMessages(shown.before));
element("publish").onsubmit = publish;

if (operator.load()) start();
else signOut("");
