"""One websocket on which one key is subscribed.

It runs in a task of its own, so that pings are answered while the user handles a
message. It is a system task, because a nursery can be left only by the task that has
opened it, and an async generator around a subscription may be closed by another one.

It holds one page at most: the server sends the next one only after the cursor of this
one was acknowledged, so neither side buffers.
"""

# JSON from the network is of any type until it is checked:
# pyright: reportUnknownVariableType=false

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, cast

import trio
from trio_websocket import (
    ConnectionClosed,
    ConnectionRejected,
    HandshakeError,
    WebSocketConnection,
    wrap_client_stream,
)

from ._errors import (
    ConnectionBroken,
    Refused,
    TransientError,
    UnexpectedResponse,
    reason_of,
)
from ._http import Site
from ._responses import (
    HttpResponse,
    MessagePage,
    checked,
    page_from,
    read_response,
    shorten,
)

__all__ = ["WebSocketLink"]

_OPEN_SECONDS = 10.0
# The status of an accepted upgrade, for what is refused over the websocket.
_UPGRADED = 101
_MAX_FRAME = 16 * 2**20
# Frames that the server may leave unread: some pongs and the ack of a page.
_OUTBOX = 8
# Seconds from ping to ping: until the server says so, and the bounds of what it says.
_PING, _MIN_PING, _MAX_PING = 20.0, 0.05, 120.0
_ERRORS = (
    ConnectionClosed,
    HandshakeError,
    Refused,
    UnexpectedResponse,
    OSError,
    trio.BrokenResourceError,
    trio.ClosedResourceError,
    trio.TooSlowError,
)


# Codes of error frames that the same subscription would get again.
_FINAL_CODES = frozenset({"bad_frame", "forbidden", "limit"})
_POLICY_VIOLATION = 1008
# The reason of a close with 1008 that is a code, and no sentence about a late pong.
_CODE = re.compile(r"[a-z][a-z_]*")


class WebSocketLink:
    """Follow one key over one websocket.

    Attributes:
        cursor: Acknowledged; the server sends what comes after it.
        failure: Why the link has ended, `Refused` if it would be refused again; None
            until then, and if it was closed.
        worked_at: When the server confirmed the subscription; None before.
    """

    def __init__(
        self,
        site: Site,
        headers: Mapping[str, str],
        key: str,
        cursor: str,
        limit: int,
    ) -> None:
        self.cursor = cursor
        self.failure: Exception | None = None
        self.worked_at: float | None = None
        self._site = site
        self._headers = headers
        self._key = key
        self._limit = limit
        self._ping = _PING
        self._page: tuple[str, MessagePage] | None = None
        self._changed = trio.Event()
        self._scope = trio.CancelScope()
        self._opened = trio.Event()
        self._ended = trio.Event()
        self._outgoing, self._outbox = trio.open_memory_channel[str](_OUTBOX)

    async def open(self) -> None:
        """Open the websocket, and serve it until it ends or `aclose` is called.

        Return when it is subscribed, or has failed with `failure` set.

        Cancellation:
            The connection is closed.
        """
        trio.lowlevel.spawn_system_task(self._run)
        try:
            await self._opened.wait()
        except BaseException:
            await self.aclose()
            raise

    async def aclose(self) -> None:
        """Close the connection; any task may do so.

        Cancellation:
            Held back until it is closed, which waits for nothing from the server.
        """
        self._scope.cancel()
        with trio.CancelScope(shield=True):
            await self._ended.wait()

    async def page_after(self, cursor: str) -> MessagePage:
        """Acknowledge a cursor, and wait for the page after it.

        Raises:
            Refused: The server has ended the subscription for good.
            TransientError: The websocket has ended.

        Cancellation:
            The page is kept for the next call.
        """
        if cursor != self.cursor:
            self.cursor, self._page = cursor, None
            self._send({"type": "ack", "key": self._key, "cursor": cursor})
        while self._page is None or self._page[0] != cursor:
            if self.failure is not None:
                raise self.failure
            await self._changed.wait()
        return self._page[1]

    async def _run(self) -> None:
        try:
            with self._scope:
                await self._serve()
        except* _ERRORS as group:
            self._fail(_failure(group))
        except* Exception as group:  # noqa: BLE001 - raised by `page_after`
            # A bug. Raised in a system task it would end the whole program.
            self._fail(group)
        finally:
            self._opened.set()
            self._ended.set()

    async def _serve(self) -> None:
        with trio.fail_after(_OPEN_SECONDS):
            stream = await self._site.open_stream()
        # trio-websocket does not close the stream if the handshake is refused.
        try:
            async with trio.open_nursery() as nursery:
                with trio.fail_after(_OPEN_SECONDS):
                    websocket = await self._shake_hands(nursery, stream)
                    nursery.start_soon(self._write, websocket)
                    await self._subscribe(websocket)
                self._opened.set()
                await self._read(websocket)
        finally:
            # Without a close frame: the server takes the end of the connection for one.
            await trio.aclose_forcefully(stream)

    async def _shake_hands(
        self, nursery: trio.Nursery, stream: trio.abc.Stream
    ) -> WebSocketConnection:
        return await wrap_client_stream(
            nursery,
            # It accepts any stream; only the annotation is narrower.
            cast("trio.SocketStream", stream),
            self._site.authority,
            self._site.prefix + "/v1/ws",
            extra_headers=[
                (name.encode(), value.encode()) for name, value in self._headers.items()
            ],
            message_queue_size=1,
            max_message_size=_MAX_FRAME,
        )

    async def _subscribe(self, websocket: WebSocketConnection) -> None:
        item = {"key": self._key, "cursor": self.cursor, "max": self._limit}
        self._send({"type": "subscribe", "messages": [item]})
        while self.worked_at is None:
            frame = await _next_frame(websocket)
            self._handle(frame)
            if frame.get("type") == "subscribed":
                self.cursor = str(frame.get("cursor"))
                self.worked_at = trio.current_time()

    async def _read(self, websocket: WebSocketConnection) -> None:
        while True:
            with trio.fail_after(2 * self._ping + _OPEN_SECONDS):
                self._handle(await _next_frame(websocket))

    async def _write(self, websocket: WebSocketConnection) -> None:
        async for text in self._outbox:
            await websocket.send_message(text)

    def _handle(self, frame: Mapping[str, Any]) -> None:
        match frame.get("type"):
            case "messages":
                self._page = str(frame.get("after")), page_from(frame)
                self._wake()
            case "ping":
                self._send({"type": "pong"})
            case "error":
                code, message = str(frame.get("code")), str(frame.get("message"))
                if code in _FINAL_CODES:
                    raise Refused(_UPGRADED, code, shorten(message))
                raise UnexpectedResponse(f"{shorten(message)} ({shorten(code)})")
            case "hello":
                ping = frame.get("ping")
                if isinstance(ping, bool) or not isinstance(ping, int | float):
                    why = "the server does not say how often it pings"
                    raise UnexpectedResponse(why)
                self._ping = min(max(float(ping), _MIN_PING), _MAX_PING)
            case _:
                pass  # a later version of the server may send other frames

    def _send(self, frame: Mapping[str, Any]) -> None:
        try:
            self._outgoing.send_nowait(json.dumps(frame))
        except trio.WouldBlock:
            self._fail(ConnectionBroken("the server does not read"))
            raise UnexpectedResponse("the server does not read") from None

    def _fail(self, failure: Exception) -> None:
        self.failure = self.failure or failure
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


async def _next_frame(websocket: WebSocketConnection) -> Mapping[str, Any]:
    message = await websocket.get_message()
    try:
        return checked(json.loads(message), dict)
    except (TypeError, ValueError, RecursionError):
        raise UnexpectedResponse("a frame that is not a JSON object") from None


def _failure(group: BaseExceptionGroup[Exception]) -> Refused | TransientError:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    match error:
        case ConnectionClosed(reason=reason) if reason is not None:
            return _closed(reason.code, reason.reason or "")
        case ConnectionRejected():
            return _rejected(error)
        case Refused():
            return error
        case trio.TooSlowError():
            return ConnectionBroken("no answer in time")
        case _:
            return ConnectionBroken(reason_of(error))


def _closed(code: int, reason: str) -> Refused | TransientError:
    if code == _POLICY_VIOLATION and _CODE.fullmatch(reason):
        return Refused(_UPGRADED, reason, "the server ended the websocket")
    return ConnectionBroken(f"closed with {code} {shorten(reason)}".rstrip())


def _rejected(error: ConnectionRejected) -> Refused | TransientError:
    """Return what the response to the upgrade means, as for any other request."""
    response = HttpResponse(error.status_code, dict(error.headers), error.body or b"")
    try:
        read_response(response)
    except (Refused, TransientError) as meaning:
        return meaning
    why = f"the upgrade was answered with HTTP {error.status_code}"
    return UnexpectedResponse(why)
