// An inbox: messages of one key, in as many tabs as you like.

import { Triopoll } from "triopoll";
import { element, post } from "./backend.js";

/** The inbox is named behind the #, so a reload and another tab open the same one. */
async function open() {
  const name = location.hash.slice(1);
  if (name) return name;
  const { room } = await post("rooms");
  history.replaceState(null, "", `#${room}`);
  return room;
}

function show({ data }) {
  const item = document.createElement("li");
  item.textContent = data.text;
  element("messages").append(item);
}

async function run() {
  const room = await open();
  const { key } = await post(`rooms/${room}`);
  element("other").href = `inbox#${room}`;
  // Called for the first request, and again when the ticket has expired.
  const ticket = async () => (await post(`rooms/${room}`)).ticket ?? undefined;
  const push = new Triopoll({ ticket });
  push.subscribe(key, {
    message: show,
    gap: ({ lost }) => {
      element("error").textContent = `${lost ?? "Some"} messages are no longer kept.`;
    },
    state: (state) => {
      const connected = state === "connected";
      element("status").textContent = connected ? "Connected." : "Offline, trying again.";
    },
    error: (error) => {
      element("error").textContent = error.message;
    },
  }, { cursor: "all" });
  element("status").textContent = "Connected.";

  element("form").onsubmit = async (event) => {
    event.preventDefault();
    const text = element("text").value;
    element("text").value = "";
    try {
      // With an id of its own, a message that is sent again is stored once.
      const id = crypto.getRandomValues(new Uint32Array(4)).join("-");
      await post(`rooms/${room}/messages`, { text, id });
    } catch (error) {
      element("text").value = text;
      element("error").textContent = error.message;
    }
  };
  document.body.dataset.state = "open";
}

run().catch((error) => {
  element("status").textContent = "This inbox cannot be opened.";
  element("error").textContent = error.message;
});
