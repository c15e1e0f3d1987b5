// Prints the JSON messages of a stream until it is closed, with the npm package
// @durable-streams/client:   node follow.mjs URL long-poll|sse
import { readFile } from "node:fs/promises"
import { setTimeout } from "node:timers/promises"
import { stream } from "@durable-streams/client"

// In your application: from the backend.
const freshTicket = () => readFile(process.env.TICKET_FILE, "utf8")

// A header that is a function is not enough: the client asks it once for a request and
// all its retries, so after an outage the ticket may be too old; and a 401 ends the
// client for good.
async function fetchWithTicket(url, init) {
  const send = async () => {
    const headers = new Headers(init?.headers)
    headers.set("Authorization", `Bearer ${await freshTicket()}`)
    return fetch(url, { ...init, headers })
  }
  const response = await send()
  return response.status === 401 ? send() : response
}

const [url, live] = process.argv.slice(2)
let offset = "-1"

async function follow() {
  const messages = await stream({
    url,
    offset,
    live,
    fetch: fetchWithTicket,
    // The defaults send seven requests in the first second of an outage.
    backoffOptions: { initialDelay: 1000, maxDelay: 60_000, multiplier: 2 },
  })
  messages.subscribeJson((batch) => {
    for (const item of batch.items) console.log(JSON.stringify(item))
    offset = batch.offset
  })
  await messages.closed
}

// A connection that is cut within a response ends the client, and so with server-sent
// events each one that is cut. Begin again behind the last batch that was handled.
for (let done = false; !done; ) {
  try {
    await follow()
    done = true
  } catch (error) {
    if (!(error instanceof TypeError)) throw error // a refusal
    await setTimeout(1000)
  }
}
