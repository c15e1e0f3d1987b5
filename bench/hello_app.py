"""The baseline of ``bench/poll.py``: the least that Quart-Trio can do."""

from __future__ import annotations

from quart_trio import QuartTrio

app = QuartTrio(__name__)


@app.get("/poll/event")
async def hello() -> str:
    return "hello"
