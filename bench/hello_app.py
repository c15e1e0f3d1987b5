"""The baseline of ``bench/poll.py``: a minimal Quart-Trio application."""

from __future__ import annotations

from quart_trio import QuartTrio

app = QuartTrio(__name__)


@app.get("/poll/event")
async def hello() -> str:
    return "hello"
