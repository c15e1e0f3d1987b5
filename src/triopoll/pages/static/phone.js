// The phone's page. It has a key of its own to wait on, since the poll secret of the
// computer's key never leaves the computer.

import { Triopoll } from "triopoll";
import { element, memory, post } from "./backend.js";

const TEXTS = {
  scanned: "Somebody wants to sign in with your account.",
  approved: "One step is left.",
  confirmed: "The computer is signed in.",
  rejected: "The login was rejected.",
  expired: "The code has expired.",
};

const push = new Triopoll();
const key = location.hash.slice(1);
const scan = memory(`scan ${key}`);

/** Report the scan, or continue with that of before a reload. */
async function begin() {
  const known = scan.load();
  if (known) return known;
  const scanned = await post(`logins/${key}/scan`);
  scan.save(scanned);
  return scanned;
}

function show({ state, data }) {
  document.body.dataset.state = state;
  element("status").textContent = TEXTS[state];
  element("origin").hidden = state !== "scanned";
  element("match").hidden = state !== "approved";
  if (state === "scanned") {
    element("address").textContent = data.origin.address;
    element("agent").textContent = data.origin.user_agent;
    element("age").textContent = Math.round(data.origin.age);
  }
  // Shown last, so that the origin has been read before.
  if (state === "approved") element("number").textContent = data.number;
}

async function answer(action) {
  element("error").textContent = "";
  element("approve").disabled = element("reject").disabled = true;
  try {
    await post(`logins/${key}/${action}`, { phone: scan.load().key });
  } catch (error) {
    element("error").textContent = error.message;
    element("approve").disabled = element("reject").disabled = false;
  }
}

async function run() {
  if (!key) {
    element("status").textContent = "Scan the code of a login to come here.";
    return;
  }
  const mine = await begin();
  if (mine.result) return show(mine.result);
  for await (const state of push.state(mine.key, mine.poll_secret)) {
    show(state);
    if (state.final) {
      scan.save({ ...mine, result: state });
      await push.ack(mine.key, mine.poll_secret, state.version);
    }
  }
}

element("approve").onclick = () => answer("approve");
element("reject").onclick = () => answer("reject");
run().catch((error) => {
  element("status").textContent = "This code cannot be used.";
  element("error").textContent = error.message;
  element("origin").hidden = element("match").hidden = true;
});
