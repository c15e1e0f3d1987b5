// Requests to the demo's own routes: in your application, your web backend.

const RETRIES = 6;

/** What the backend has refused. */
export class Refused extends Error {
  constructor(status, { code, message }) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

/**
 * Send JSON and return the JSON of the answer. While the server restarts, try again: the
 * routes are made so that a second request changes nothing.
 */
export async function post(path, body = {}) {
  for (let attempt = 1; ; attempt++) {
    try {
      const response = await fetch(path, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(body),
      });
      if (response.ok) return await response.json();
      if (response.status < 500 || attempt > RETRIES) {
        const shape = await response.json().catch(() => ({}));
        throw new Refused(response.status, { message: `HTTP ${response.status}`, ...shape });
      }
    } catch (error) {
      if (error instanceof Refused || attempt > RETRIES) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, 250 * attempt));
  }
}

/** JSON in sessionStorage: it is there after a reload, and other tabs do not see it. */
export const memory = (name) => ({
  load: () => JSON.parse(sessionStorage.getItem(name)),
  save: (value) => sessionStorage.setItem(name, JSON.stringify(value)),
  clear: () => sessionStorage.removeItem(name),
});

export const element = (id) => document.getElementById(id);
