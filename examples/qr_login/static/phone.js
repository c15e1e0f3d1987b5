import { element, post } from "./backend.js";

const key = location.hash.slice(1);

async function run() {
  const { address, user_agent, age, number } = await post(`logins/${key}/scan`);
  element("status").textContent =
    `${user_agent} at ${address}, ${Math.round(age)} seconds ago`;
  element("approve").onclick = async () => {
    await post(`logins/${key}/approve`);
    element("approve").remove();
    element("status").textContent = `Choose ${number} on the computer`;
  };
}

run().catch((error) => {
  element("status").textContent = error.message;
});
