"""One client connection from its first byte to its last.

A connection is one task: it reads a request, runs the application on it, and goes on to
the next. An error in here ends this connection and no other. While the application is
at work the task is two functions deep, since each resumption of a task passes through
all.

An application may park its request and return (`Parking`). Then the task waits for the
next bytes of the client, as it does between two requests; whatever ends the parked
request writes the response, and the task need not run for it. The deadline of the
parked request is that of the connection's cancel scope, which also ends the wait for
bytes when the task has something to do. A scope that was cancelled is replaced.
"""

# Addresses and buffers come from the standard library without a closer type:
# pyright: reportUnknownVariableType=false

from __future__ import annotations

import logging
import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import trio

from triopoll.asgi.messages import (
    ACKNOWLEDGED,
    CANCELS,
    PARKING,
    ParkedRequest,
    Parking,
)
from triopoll.asgi.types import ASGIApp, Scope, Send
from triopoll.ops.drain import Drain
from triopoll.ops.logs import fields_of

from .config import ServerSettings
from .disconnects import Disconnects
from .errors import HttpError, PeerGone
from .http_cycle import HttpCycle, to_scope
from .request_parser import NEED_DATA, RequestHead, RequestReader
from .response_writer import ResponseWriter, plain_response
from .send_budget import SendBudget
from .stream import ClientStream
from .websocket_cycle import WebSocketCycle, is_websocket

__all__ = ["ServerConnection", "ServerContext"]

logger = logging.getLogger(__name__)
request_logger = logging.getLogger("triopoll.requests")


@dataclass(frozen=True, slots=True)
class ServerContext:
    """What the connections of one server share.

    Attributes:
        app: The ASGI application.
        settings: Limits and deadlines.
        drain: Closes websockets when the server stops.
        state: What the application's lifespan left; each request gets a copy.
        disconnects: Reports clients that leave.
        connections: Those that are open.
        send_budget: Limits what waits to be read by all clients.
    """

    app: ASGIApp
    settings: ServerSettings
    drain: Drain
    state: Scope
    disconnects: Disconnects
    connections: set[ServerConnection] = field(default_factory=set)
    send_budget: SendBudget = field(default_factory=SendBudget)


class ServerConnection:
    """Serve an ASGI application on one socket.

    It is the `Parking` of its requests.

    Attributes:
        busy: True while the application is at work on a request or a websocket, and
            while a request is parked.
        parked: The request that waits for its response.
        sender: What the application sends the present response with.
    """

    __slots__ = (
        "_base",
        "_context",
        "_cycle",
        "_has_waited",
        "_head_deadline",
        "_idle_since",
        "_is_ahead",
        "_is_called",
        "_is_over",
        "_is_parked",
        "_is_waiting",
        "_last",
        "_log",
        "_peer_has_left",
        "_reader",
        "_scope",
        "_socket",
        "_stream",
        "_writer",
        "busy",
        "parked",
        "sender",
    )

    def __init__(self, context: ServerContext, stream: trio.SocketStream) -> None:
        """Register the connection; it is open until `run` has returned."""
        settings = context.settings
        self._context = context
        self._stream = ClientStream(
            stream, settings.write_deadline, context.send_budget
        )
        self._socket = stream.socket
        self._reader = RequestReader(settings.max_head_bytes, settings.max_headers)
        self._base: Scope = _base_scope(context, stream, self._stream, self)
        # When the current wait for a request began; infinite while there is none.
        self._idle_since = math.inf
        self._scope = trio.CancelScope()
        self._cycle: HttpCycle | None = None
        self.parked: ParkedRequest | None = None
        # The parked request has been started, and may be responded to from outside.
        self._is_parked = False
        # The task is in `_wait_for_bytes`.
        self._is_waiting = False
        # It has returned from there, with bytes of the next request.
        self._has_waited = False
        # No request is to be served any more.
        self._is_over = False
        # The task has something to do for the parked request, or for its response.
        self._is_called = False
        # The client has sent something while its request is parked.
        self._is_ahead = False
        # What the log says of a parked request: its scope, and when it began.
        self._log: tuple[Scope, float] | None = None
        self.sender: Send | None = None
        self._peer_has_left = False
        self._writer: ResponseWriter | None = None
        self._head_deadline: float | None = None
        self._last = False
        self.busy = False
        context.connections.add(self)
        context.disconnects.watch(self._stream.descriptor, self.peer_left)

    async def run(self) -> None:
        """Serve requests until the client leaves, misbehaves or is asked to leave.

        Cancellation:
            The running request is cut; the socket is closed.
        """
        descriptor = self._stream.descriptor
        try:
            while not await self._serve_requests() and not self._peer_has_left:
                self._scope = trio.CancelScope()
        except* PeerGone:
            pass
        except* Exception:
            client = self._base["client"]
            logger.exception("the connection from %s failed and is closed", client)
        finally:
            if self.parked is not None:
                # It has this connection in it: a cycle would need the garbage
                # collector.
                parked, self.parked = self.parked, None
                parked.withdraw()
            # Does nothing to a socket that has been closed in good order.
            self._stream.abort()
            self._context.disconnects.unwatch(descriptor)
            self._context.connections.discard(self)
            # So has this.
            self._base = {}

    async def _serve_requests(self) -> bool:
        """Serve requests until the connection ends; return False to be called again."""
        self._is_waiting = False
        with self._scope:
            while not self._is_over:
                if self._is_called:
                    await self._answer_call()
                elif self.parked is None:
                    self._is_over = not await self._serve_request()
                elif not self._is_parked:
                    self._scope.deadline = self.parked.deadline
                    self._is_parked = True
                    self.parked.start()
                elif trio.current_time() >= self.parked.deadline:
                    self.parked.expire()
                else:
                    await self._wait_for_bytes()
            await self._stream.finish(self._context.settings.linger)
            return True
        return False

    def stop(self) -> None:
        """Close when idle, else after the answer that is being made."""
        self._last = True
        if self._writer is not None:
            self._writer.keep_alive = False
        if self._idle_since < math.inf:
            self._stream.stop_receiving()

    def stop_if_idle_since(self, time: float) -> None:
        """Close if the client has sent nothing since then and no request is served."""
        if self._idle_since <= time:
            self.stop()

    def respond_now(
        self, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes
    ) -> None:
        """Write the response to the parked request; see `Parking`."""
        cycle = self._cycle
        assert cycle is not None
        cycle.respond_now(status, headers, body)
        self._end_parked()
        if cycle.reusable and not self._is_ahead and not self._last:
            self._cycle = None
            self._is_called = False
            self._idle_since = trio.current_time()
        else:
            self.call_back()

    def call_back(self) -> None:
        """Have the task go on with the parked request; see `Parking`."""
        self._is_called = True
        # What else it may be waiting for must not be cancelled.
        if self._is_waiting:
            self._is_waiting = False
            self._scope.cancel()

    def peer_left(self) -> None:
        """Cancel the application if it is at work on a request of this client.

        Not where it finds out by itself: in ASGI's ``receive()``, which websockets are
        always in, and while it waits for an acknowledgement of its answer.
        """
        if self._last:
            return  # `stop` closes the receiving side too
        self._peer_has_left = True
        waits = self._cycle is None or self._cycle.receiving
        if not waits and not self._stream.awaits_acknowledgement:
            self._scope.cancel()

    async def _serve_request(self) -> bool:
        """Serve the next request; return whether another one may follow."""
        try:
            request = await self._next_request()
            if request is None:
                return False
            if request.upgrades and is_websocket(request):
                await self._serve_websocket(request)
                return False
            cycle = self._begin_http(request)
            scope = to_scope(request, kind="http", base=self._base)
            began = trio.current_time()
            self.busy = True
            try:
                self.sender = sender = cycle.send
                await self._context.app(scope, cycle.receive, sender)
            except (Exception, BaseExceptionGroup) as error:  # noqa: BLE001
                _log_error(error, scope, cycle)
            finally:
                if self.parked is None:
                    self._app_returned(scope, cycle, began)
            if self.parked is not None:
                self.sender = None
                if self._context.settings.access_log:
                    self._log = scope, began
                return True
            return self._end_http(cycle)
        except HttpError as error:
            await self._stream.send(plain_response(error.status, str(error)))
            return False

    async def _wait_for_bytes(self) -> None:
        """Wait for the client, or for the response to the parked request.

        The task stays here when the request has its response and the next one is
        waited for.

        Cancellation:
            No byte is lost.
        """
        self._is_waiting = True
        if self._is_ahead:
            # What the client has sent is served after the response.
            await trio.sleep_forever()
        await trio.lowlevel.wait_readable(self._socket)
        self._is_waiting = False
        data = self._stream.receive_now()
        if data:
            self._idle_since = math.inf
            self._reader.receive_data(data)
            self._is_ahead = self.parked is not None
            self._has_waited = True
        self._is_over = data == b""

    async def _answer_call(self) -> None:
        """Do what the task was called for: see `call_back`.

        Raises:
            PeerGone: The client has left or does not read.

        Cancellation:
            The connection is not used for another request.
        """
        self._is_called = self._is_parked = self._is_waiting = False
        self._scope.deadline = math.inf
        cycle = self._cycle
        assert cycle is not None
        if self.parked is not None:
            scope = {"extensions": self._base["extensions"]}
            if not await self.parked.proceed(scope, cycle.send):
                return
            self._end_parked()
        await cycle.flush()
        self._is_ahead = False
        self._is_over = not self._end_http(cycle)

    def _end_parked(self) -> None:
        """Note that the parked request has its response."""
        self.parked = None
        self._is_parked = self.busy = False
        self._scope.deadline = math.inf
        if self._log is not None:
            assert self._cycle is not None
            (scope, began), self._log = self._log, None
            _log_access(scope, self._cycle.status, trio.current_time() - began)

    async def _next_request(self) -> RequestHead | None:
        waited, self._has_waited = self._has_waited, False
        # Pipelined requests, and the beginning of one, are in the buffer already.
        while True:
            if buffered := self._reader.buffered:
                request = self._reader.next_request()
                if request is not NEED_DATA:
                    break
            if buffered and self._reader.buffered:
                data = await self._receive_head()
            else:
                if self._last:
                    # Serve a request that has arrived already, and wait for none.
                    self._stream.stop_receiving()
                self._idle_since = trio.current_time()
                try:
                    data = await self._stream.receive()
                finally:
                    self._idle_since = math.inf
            if not data:
                return None
            self._reader.receive_data(data)
            waited = True
        self._head_deadline = None
        if not waited:
            # A pipelined request. Neither reading it nor serving it need be a
            # checkpoint, so without one here no other connection would get its turn
            # until all that have arrived are served.
            await trio.lowlevel.checkpoint()
        return request

    async def _receive_head(self) -> bytes:
        """Return more of a head that has begun, within its deadline."""
        if self._head_deadline is None:
            limit = self._context.settings.head_deadline
            self._head_deadline = trio.current_time() + limit
        with trio.CancelScope(deadline=self._head_deadline):
            return await self._stream.receive()
        raise HttpError(408, "the request did not arrive in time")

    def _begin_http(self, request: RequestHead) -> HttpCycle:
        keep_alive = request.keep_alive and not self._last
        writer = ResponseWriter(request.method, request.version, keep_alive=keep_alive)
        cycle = HttpCycle(
            request, self._reader, writer, self._stream, self._context.settings
        )
        self._writer, self._cycle = writer, cycle
        if self._peer_has_left:
            self._scope.cancel()
        return cycle

    def _end_http(self, cycle: HttpCycle) -> bool:
        """Return whether another request may follow.

        Raises:
            HttpError: What to answer, where the application has not answered.
        """
        self._cycle = self.sender = None
        if cycle.reusable:
            return not self._last
        if cycle.status is None and cycle.refusal is not None:
            raise cycle.refusal
        if cycle.status is None and self._stream.alive:
            raise HttpError(500, "Internal Server Error")
        if not cycle.complete and self._stream.alive:
            # Closing in good order would make half an answer look like a whole one.
            self._stream.abort()
        return False

    def _app_returned(
        self, scope: Scope, cycle: HttpCycle | WebSocketCycle, began: float
    ) -> None:
        self.busy = False
        if self._context.settings.access_log:
            _log_access(scope, cycle.status, trio.current_time() - began)

    async def _serve_websocket(self, request: RequestHead) -> None:
        settings = self._context.settings
        cycle = WebSocketCycle(
            request, self._reader.take_rest(), self._stream, settings
        )
        scope = to_scope(request, kind="websocket", base=self._base)
        scope["subprotocols"] = cycle.subprotocols
        scope["extensions"] = {"websocket.http.response": {}}
        code = 1001
        try:
            began = trio.current_time()
            self.busy = True
            try:
                with self._context.drain.calling(cycle.go_away):
                    await self._context.app(scope, cycle.receive, cycle.send)
            except (Exception, BaseExceptionGroup) as error:  # noqa: BLE001
                _log_error(error, scope, cycle)
            finally:
                self._app_returned(scope, cycle, began)
            code = 1011 if cycle.failed else 1000
        finally:
            # Also when the server cuts the connection: a close frame says more to the
            # client than an EOF.
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 1):
                await cycle.close(code)
        if not cycle.accepted and not cycle.denied and self._stream.alive:
            raise HttpError(503, "the server did not take the websocket")


def _log_error(
    error: Exception | BaseExceptionGroup[BaseException],
    scope: Scope,
    cycle: HttpCycle | WebSocketCycle,
) -> None:
    """Log what the application raised; raise what is no error of its own."""
    try:
        raise error
    except* PeerGone:
        pass  # the application let what `send` raised pass through
    except* Exception:
        cycle.failed = True
        logger.exception("%s %s failed", scope["method"], scope["path"])
    finally:
        # It is in the frames of its own traceback: a cycle.
        del error


def _base_scope(
    context: ServerContext,
    stream: trio.SocketStream,
    client_stream: ClientStream,
    parking: Parking,
) -> Scope:
    """Return what the ASGI scopes of all requests of a connection share."""
    extensions: Scope = {ACKNOWLEDGED: {"wait": client_stream.wait_acknowledged}}
    if context.disconnects.noticed:
        extensions[CANCELS] = {}
        extensions[PARKING] = parking
    return {"state": context.state, "extensions": extensions, **_addresses(stream)}


def _addresses(stream: trio.SocketStream) -> Scope:
    """Return ASGI's client and server; the client may have left already."""
    try:
        client, server = stream.socket.getpeername(), stream.socket.getsockname()
    except OSError:
        return {"client": None, "server": None}
    if isinstance(client, tuple):
        return {"client": client[:2], "server": server[:2]}
    return {"client": None, "server": (server, None)}


def _log_access(scope: Scope, status: int | None, seconds: float) -> None:
    """Log a request without its query, which may have keys and tickets in it."""
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
