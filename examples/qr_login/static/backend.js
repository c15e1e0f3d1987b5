export async function post(path, body = {}) {
  const response = await fetch(path, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  const shape = await response.json();
  if (!response.ok) throw new Error(shape.message ?? shape.detail);
  return shape;
}

export const element = (id) => document.getElementById(id);
