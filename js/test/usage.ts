// Only type-checked, by types.test.js.
import { Triopoll, TriopollError, type Message, type State } from "../triopoll.js";

const push = new Triopoll({
  url: "https://push.example",
  ticket: async () => "a ticket",
  storage: sessionStorage,
  share: false,
});
push.addEventListener("gap", ({ detail }) => console.log(detail.key, detail.lost));
push.addEventListener("state", ({ detail }) => console.log(detail.state, detail.error));

for await (const message of push.messages(["a", "b"], { cursor: "all" })) {
  const { key, id, data }: Message = message;
  console.log(key, id, data);
}
const stop: () => void = push.subscribe("a", {
  message: async ({ data }) => console.log(data),
  gap: ({ lost }) => console.log(lost),
  error: (error) => error instanceof TriopollError && console.log(error.status, error.code),
});
stop();
let last: State | undefined;
for await (const state of push.state("key", "secret", { version: 1 })) last = state;
if (last?.final) await push.ack("key", "secret", last.version);
const isPaid: boolean = await push.event("paid", { timeout: 30 });
for await (const { data } of push.poll("list")) console.log(data, isPaid);
// @ts-expect-error: a transport that there is not
new Triopoll({ transport: "carrier pigeon" });
push.close();
