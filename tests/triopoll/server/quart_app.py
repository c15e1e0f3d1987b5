"""A Quart-Trio application with PollConnection, for servers in processes."""

from __future__ import annotations

from quart_trio import QuartTrio

from triopoll._connection import PollConnection

app = QuartTrio(__name__)
app.asgi_http_class = PollConnection


@app.route("/hello")
async def hello() -> str:
    return "hello"
