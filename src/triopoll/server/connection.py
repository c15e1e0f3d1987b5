"""One client connection from its first byte to its last.

A connection is one task: it reads a request, runs the application on it, and goes on
to the next. Whatever goes wrong in here ends this connection and nothing else.
"""

from __future__ import annotations

import logging
import math

import trio

from triopoll.asgi.types import ASGIApp, Scope
from triopoll.ops.drain import Drain
from triopoll.ops.logs import fields_of

from .config import ServerSettings
from .http_cycle import HttpCycle, to_scope
from .request_parser import NEED_DATA, HttpError, RequestHead, RequestReader
from .response_writer import ResponseWriter, plain_response
from .stream import ClientStream, PeerGone
from .websocket_cycle import WebSocketCycle, is_websocket

__all__ = ["ServerConnection"]

logger = logging.getLogger("triopoll.serving")
request_logger = logging.getLogger("triopoll.requests")


class ServerConnection:
    """Serve an ASGI application on one socket.

    Attributes:
        busy: True while the application is at work on a request or a websocket.
    """

    __slots__ = (
        "_app",
        "_base",
        "_drain",
        "_exchange",
        "_head_deadline",
        "_idle_since",
        "_last",
        "_life",
        "_peer_has_left",
        "_reader",
        "_settings",
        "_wire",
        "_writer",
        "busy",
    )

    def __init__(
        self,
        app: ASGIApp,
        wire: ClientStream,
        settings: ServerSettings,
        drain: Drain,
        base: Scope,
    ) -> None:
        """Prepare to serve; `base` is what the ASGI scopes of all requests share."""
        self._app = app
        self._wire = wire
        self._settings = settings
        self._drain = drain
        self._base = base
        self._reader = RequestReader(settings.max_head_bytes, settings.max_headers)
        self._idle_since = math.inf
        self._life = trio.CancelScope()
        self._exchange: HttpCycle | None = None
        self._peer_has_left = False
        self._writer: ResponseWriter | None = None
        self._head_deadline: float | None = None
        self._last = False
        self.busy = False

    async def run(self) -> None:
        """Serve requests until the client leaves, misbehaves or is asked to leave.

        Cancellation:
            The running request is cut; the socket is closed.
        """
        try:
            with self._life:
                while await self._serve_one():
                    pass
                await self._wire.finish(self._settings.linger)
        except PeerGone:
            pass
        finally:
            # Does nothing to a socket that has been closed in good order.
            self._wire.abort()

    def stop(self) -> None:
        """Close when idle, else after the answer that is being made."""
        self._last = True
        if self._writer is not None:
            self._writer.keep_alive = False
        if self._idle_since < math.inf:
            self._wire.stop_receiving()

    def stop_if_idle_since(self, time: float) -> None:
        """Close if the client has sent nothing since that time, and owes a request."""
        if self._idle_since <= time:
            self.stop()

    def peer_left(self) -> None:
        """Cancel the application if it is at work on a request: nobody waits for it.

        One that is in ASGI's ``receive()`` finds out there, and so does a websocket, or
        one that waits for its answer to be acknowledged.
        """
        if self._last:
            return  # `stop` looks the same from here
        self._peer_has_left = True
        if self._exchange is None or self._exchange.receiving or self._wire.confirming:
            return
        self._life.cancel()

    async def _serve_one(self) -> bool:
        """Serve the next request; return whether another one may follow."""
        try:
            request = await self._next_request()
            if request is None:
                return False
            if is_websocket(request):
                await self._serve_websocket(request)
                return False
            return await self._serve_http(request)
        except HttpError as error:
            await self._wire.send(plain_response(error.status, str(error)))
            return False

    async def _next_request(self) -> RequestHead | None:
        request = self._reader.next_request()
        while request is NEED_DATA:
            if self._last and not self._reader.buffered:
                return None
            begun = self._reader.buffered > 0
            if not await (self._read_head() if begun else self._read_idle()):
                return None
            request = self._reader.next_request()
        self._head_deadline = None
        return request

    async def _read_idle(self) -> bool:
        self._idle_since = trio.current_time()
        try:
            data = await self._wire.receive()
        finally:
            self._idle_since = math.inf
        self._reader.receive_data(data)
        return bool(data)

    async def _read_head(self) -> bool:
        if self._head_deadline is None:
            limit = self._settings.head_deadline
            self._head_deadline = trio.current_time() + limit
        with trio.CancelScope(deadline=self._head_deadline):
            data = await self._wire.receive()
            self._reader.receive_data(data)
            return bool(data)
        raise HttpError(408, "the request did not arrive in time")

    async def _serve_http(self, request: RequestHead) -> bool:
        keep_alive = request.keep_alive and not self._last
        writer = ResponseWriter(request.method, request.version, keep_alive=keep_alive)
        self._writer = writer
        exchange = HttpCycle(request, self._reader, writer, self._wire, self._settings)
        scope = to_scope(request, kind="http", base=self._base)
        self._exchange = exchange
        if self._peer_has_left:
            self._life.cancel()
        await self._run_app(scope, exchange)
        self._exchange = None
        if exchange.refusal is not None and not writer.started:
            raise exchange.refusal
        if not writer.started and self._wire.alive:
            raise HttpError(500, "Internal Server Error")
        if self._wire.alive and not writer.complete:
            self._wire.abort()  # an end in good order would look like a whole answer
        return exchange.reusable and not self._last

    async def _serve_websocket(self, request: RequestHead) -> None:
        rest = self._reader.take_rest()
        exchange = WebSocketCycle(request, rest, self._wire, self._settings)
        scope = to_scope(request, kind="websocket", base=self._base)
        scope["subprotocols"] = exchange.subprotocols
        scope["extensions"] = {"websocket.http.response": {}}
        code = 1001
        try:
            with self._drain.calling(exchange.go_away):
                code = 1000 if await self._run_app(scope, exchange) else 1011
        finally:
            # Also when the server cuts what is left: a frame says more than an EOF.
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 1):
                await exchange.close(code)
        if not exchange.accepted and not exchange.denied and self._wire.alive:
            raise HttpError(503, "the server did not take the websocket")

    async def _run_app(
        self, scope: Scope, exchange: HttpCycle | WebSocketCycle
    ) -> bool:
        """Run the application; return False if it failed."""
        worked = True
        begun = trio.current_time()
        self.busy = True
        try:
            await self._app(scope, exchange.receive, exchange.send)
        except* PeerGone:
            pass  # the application let ASGI's own "the client has left" pass through
        except* Exception:
            worked = False
            logger.exception("%s %s failed", scope["method"], scope["path"])
        finally:
            self.busy = False
            if self._settings.access_log:
                _log_access(scope, exchange.status, trio.current_time() - begun)
        return worked


def _log_access(scope: Scope, status: int | None, seconds: float) -> None:
    """Log a request: without its query, in which there are keys and tickets."""
    peer = scope["client"][0] if scope["client"] else None
    method, path = scope["method"], scope["path"]
    request_logger.info(
        "%s %s %s %s %.3f s",
        *(peer or "-", method, path, status or "-", seconds),
        extra=fields_of(
            peer=peer,
            method=method,
            path=path,
            status=status,
            seconds=round(seconds, 3),
        ),
    )
