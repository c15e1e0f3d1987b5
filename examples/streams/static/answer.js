// The state of the page is what it shows and the offset behind that. The browser keeps
// both in the entry of its history, so a reload goes on where the page was.
const $ = (id) => document.getElementById(id)
const PAUSE = 1000

$("ask").onclick = async () => {
  const { id } = await (await fetch("/answers", { method: "POST" })).json()
  history.pushState({ offset: "-1", text: "" }, "", `?${id}`)
  start()
}
window.onpopstate = start
start()

async function start() {
  const id = location.search.slice(1)
  const state = history.state ?? { offset: "-1", text: "" }
  $("answer").textContent = state.text
  if (!id) return
  const { stream } = await (await fetch(`/answers/${id}`)).json()
  read(stream, state)
}

let source

function read(stream, { offset, text }) {
  source?.close()
  source = new EventSource(`${stream}?live=sse&offset=${offset}`)
  let pending = ""
  source.addEventListener("data", ({ data }) => {
    pending += data
  })
  // Only what a control event confirms is shown, with its offset: so nothing is lost and
  // nothing comes twice, wherever the connection breaks.
  source.addEventListener("control", ({ data }) => {
    const control = JSON.parse(data)
    offset = control.streamNextOffset
    text += pending
    pending = ""
    history.replaceState({ offset, text }, "")
    $("answer").textContent = text
    $("status").textContent = control.streamClosed ? "done" : "reading"
    if (control.streamClosed) source.close()
  })
  // The browser would come back with the old offset. A stream that is not there, or not
  // any more, gives the same event; an application asks its backend then.
  source.onerror = () => {
    source.close()
    $("status").textContent = "reconnecting"
    setTimeout(read, PAUSE, stream, { offset, text })
  }
}
