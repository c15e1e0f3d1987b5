"""A bare ASGI application with parked polls, for the tests of the server.

It answers what a probe needs to know, and counts what its handlers went through.
"""

from __future__ import annotations

import os
import signal
from collections import Counter, deque
from typing import Any

import trio

from triopoll.ops.drain import Drain

PLAIN = [(b"content-type", b"text/plain")]


class ParkApp:
    """Routes by path; `seen` counts what happened to handlers."""

    def __init__(self) -> None:
        self.drain = Drain()
        self.seen: Counter[str] = Counter()
        # Only a few: the fuzz looks for a leak in the server.
        self.scopes: deque[Any] = deque(maxlen=8)
        self.parked = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self.live(receive, send)
        elif scope["type"] == "websocket":
            self.scopes.append(scope)
            await self.websocket(scope["path"], receive, send)
        else:
            self.scopes.append(scope)
            handler = getattr(self, "get_" + scope["path"].strip("/"), self.get_hello)
            await handler(scope, receive, send)

    async def live(self, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})

    async def get_hello(self, scope: Any, receive: Any, send: Any) -> None:
        await answer(send, b"hello")

    async def get_park(self, scope: Any, receive: Any, send: Any) -> None:
        """Park until the drain, the client's leaving, or for ever."""
        released = False
        self.parked += 1
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch, receive, nursery.cancel_scope)
                with self.drain.interruptible() as waiting:
                    await trio.sleep_forever()
                released = waiting.cancelled_caught
                nursery.cancel_scope.cancel()
        finally:
            self.parked -= 1
        if released:
            await answer(send, b"again")
            self.seen["again"] += 1

    async def _watch(self, receive: Any, scope: trio.CancelScope) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.seen["gone"] += 1
        scope.cancel()

    async def get_stubborn(self, scope: Any, receive: Any, send: Any) -> None:
        """Park without listening to anything."""
        self.seen["stubborn"] += 1
        try:
            await trio.sleep_forever()
        finally:
            self.seen["cancelled"] += 1

    async def get_echo(self, scope: Any, receive: Any, send: Any) -> None:
        body = b""
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.seen["cut body"] += 1
                return
            body += message["body"]
            more = message["more_body"]
        await answer(send, body)

    async def get_early(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer without a look at the body."""
        await answer(send, b"early")

    async def get_flood(self, scope: Any, receive: Any, send: Any) -> None:
        """Send for ever."""
        await send({"type": "http.response.start", "status": 200, "headers": PLAIN})
        try:
            while True:
                await send(body_message(b"x" * 65536, more=True))
        except OSError:
            self.seen["flood cut"] += 1
            raise

    async def get_boom(self, scope: Any, receive: Any, send: Any) -> None:
        raise ValueError("boom")

    async def get_late_boom(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": PLAIN})
        await send(body_message(b"part", more=True))
        raise ValueError("boom")

    async def get_silent(self, scope: Any, receive: Any, send: Any) -> None:
        """Return without an answer."""

    async def get_pid(self, scope: Any, receive: Any, send: Any) -> None:
        await answer(send, str(os.getpid()).encode())

    async def get_die(self, scope: Any, receive: Any, send: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    async def get_parked(self, scope: Any, receive: Any, send: Any) -> None:
        await answer(send, str(self.parked).encode())

    async def get_ready(self, scope: Any, receive: Any, send: Any) -> None:
        await answer(send, b"draining" if self.drain.draining else b"ready")

    async def websocket(self, path: str, receive: Any, send: Any) -> None:
        assert (await receive())["type"] == "websocket.connect"
        if path == "/deny":
            await send({"type": "websocket.close"})
            return
        if path == "/silent":
            return
        await send({"type": "websocket.accept"})
        if path == "/boom":
            raise ValueError("boom")
        if path == "/done":
            return
        while True:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                self.seen[f"closed {message['code']}"] += 1
                return
            if message["text"] == "close":
                await send({"type": "websocket.close", "code": 4000, "reason": "bye"})
            else:
                await send({**message, "type": "websocket.send"})


async def answer(send: Any, body: bytes) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": PLAIN})
    await send(body_message(body, more=False))


def body_message(body: bytes, *, more: bool) -> dict[str, Any]:
    return {"type": "http.response.body", "body": body, "more_body": more}


app = ParkApp()
