import { element, post } from "./backend.js";

async function begin() {
  const kept = JSON.parse(sessionStorage.getItem("login"));
  const login = kept ?? (await post("logins"));
  sessionStorage.setItem("login", JSON.stringify(login));
  return login;
}

function offer({ key, poll_secret }, numbers) {
  const buttons = numbers.map((choice) => {
    const button = document.createElement("button");
    button.textContent = choice;
    button.onclick = () => post(`logins/${key}/choose`, { poll_secret, choice }).catch(show);
    return button;
  });
  element("numbers").replaceChildren(...buttons);
}

function show(error) {
  element("status").textContent = error.message;
}

async function run() {
  const login = await begin();
  const { key, poll_secret, svg, module } = login;
  // From the server that it then asks: http://127.0.0.1:8000/js/VERSION/triopoll.js
  const { Triopoll } = await import(module);
  const push = new Triopoll();
  element("code").innerHTML = svg;
  element("phone").href = `phone.html#${key}`;
  for await (const { state, numbers, final } of push.state(key, poll_secret)) {
    element("status").textContent = state;
    element("code").hidden = state !== "pending";
    element("numbers").replaceChildren();
    if (state === "approved") offer(login, numbers);
    if (final) sessionStorage.removeItem("login");
    if (state === "confirmed") {
      // The backend reads the state for itself, and sets its session cookie.
      const { user } = await post("session", { key, poll_secret });
      element("status").textContent = `Signed in as ${user}`;
    }
  }
}

run().catch(show);
