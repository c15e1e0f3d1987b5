"""An application whose shutdown fails, by the word in its environment."""

from __future__ import annotations

import os
from typing import Any

import trio


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        if scope["path"] == "/stubborn":
            await trio.sleep_forever()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"hello"})
        return
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    if os.environ.get("FAILING_APP") == "raises":
        raise ValueError("a bug")
    await send({"type": "lifespan.shutdown.failed", "message": "not flushed"})
