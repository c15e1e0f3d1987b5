"""Requests for the application behind the endpoints: its `receive` and `send`.

The pipeline has checked the request and read its body. What the application behind
answers gets the headers of every response, and is counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import trio

from ..access.cors import Cors
from ..asgi.messages import Headers, Request
from ..asgi.types import Message, Receive, Send

__all__ = ["FallbackExchange"]

_HEADS = ("http.response.start", "websocket.http.response.start")


class FallbackExchange:
    """One request or websocket of the application behind.

    Attributes:
        started: The head of the response is with the connection, or the websocket is
            open.
        broken: The connection failed while the application was sending.
    """

    def __init__(
        self,
        request: Request,
        receive: Receive,
        send: Send,
        finish: Callable[[int], Headers],
        cors: Cors,
    ) -> None:
        """Prepare to serve.

        Args:
            request: Its body has been read.
            receive: The server's.
            send: The server's.
            finish: Counts a response with this status; returns the headers to add.
            cors: For preflights.
        """
        self._request = request
        self._receive = receive
        self._send = send
        self._finish = finish
        self._cors = cors
        self._body_given = False
        self._last_sent: trio.Event | None = None
        self.started = False
        self.broken = False

    async def receive_http(self) -> Message:
        """Return the body, then the disconnect.

        Cancellation:
            Nothing is lost.
        """
        if not self._body_given:
            self._body_given = True
            body = self._request.body
            return {"type": "http.request", "body": body, "more_body": False}
        while (message := await self._receive())["type"] != "http.disconnect":
            pass
        if self._last_sent is not None:
            # Hypercorn reports a disconnect from inside the `send()` of the last piece,
            # which then closes the connection or prepares it for the next request.
            # Quart-Trio cancels its `send()` at a disconnect: so it learns of it later.
            await self._last_sent.wait()
        return message

    async def send(self, message: Message) -> None:
        """Send a message of the application; add the finishing headers to its head.

        Raises:
            OSError: The connection is broken.

        Cancellation:
            As that of the server's `send()`.
        """
        kind = message["type"]
        last = kind == "http.response.body" and not message.get("more_body", False)
        if kind in _HEADS:
            message = {**message, "headers": self._headers(message)}
        elif kind == "websocket.close" and not self.started:
            self._finish(403)  # what a server answers then
        elif last:
            self._last_sent = trio.Event()
        try:
            await self._send(message)
        except OSError:
            self.broken = True
            raise
        finally:
            if last and self._last_sent is not None:
                self._last_sent.set()
        self.started = self.started or kind in (*_HEADS, "websocket.accept")

    def _headers(self, message: Message) -> list[tuple[bytes, bytes]]:
        given = [(bytes(k), bytes(v)) for k, v in message.get("headers", ())]
        names = {name.lower() for name, _ in given} - {b"vary"}
        added: Iterable[tuple[bytes, bytes]] = self._finish(message["status"])
        methods = b", ".join(v for name, v in given if name.lower() == b"allow")
        preflight = self._cors.preflight(self._request, methods)
        if preflight is not None:
            added = (*added, *preflight.headers)
        # What a route has decided for itself, such as its own CORS headers, stays.
        return [*given, *(each for each in added if each[0] not in names)]
