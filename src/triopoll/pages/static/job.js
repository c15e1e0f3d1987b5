// A job: its states move a progress bar.

import { Triopoll } from "triopoll";
import { element, memory, post } from "./backend.js";

const push = new Triopoll();
const job = memory("job");

function show({ state, data }) {
  const percent = data?.percent ?? 0;
  document.body.dataset.state = state;
  element("progress").value = percent;
  element("status").textContent = state === "running" ? `running, ${percent} %` : state;
}

async function follow({ key, poll_secret }) {
  for await (const state of push.state(key, poll_secret)) {
    show(state);
    if (state.final) {
      job.clear();
      await push.ack(key, poll_secret, state.version);
    }
  }
}

function fail(error) {
  job.clear();
  element("error").textContent = error.message;
}

element("form").onsubmit = async (event) => {
  event.preventDefault();
  const button = element("form").querySelector("button");
  button.disabled = true;
  element("error").textContent = "";
  try {
    const by = new FormData(event.target).get("by");
    const created = await post("jobs", { by });
    job.save(created);
    await follow(created);
  } catch (error) {
    fail(error);
  } finally {
    button.disabled = false;
  }
};

const known = job.load();
if (known) follow(known).catch(fail);
