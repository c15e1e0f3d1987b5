"""The baselines of ``bench/asgi_servers.py``: a hello on the server's own loop."""

from __future__ import annotations

from typing import Any

from triopoll.asgi.guest import GuestApp

START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"text/plain"), (b"content-length", b"5")],
}
BODY = {"type": "http.response.body", "body": b"hello"}


async def bare(scope: Any, receive: Any, send: Any) -> None:
    """Answer; this function works on asyncio and on trio."""
    if scope["type"] == "lifespan":
        for what in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{what}.complete"})
    else:
        await send(START)
        await send(BODY)


# The same application as a trio task, through the ASGI bridge.
bridged = GuestApp(bare)
