"""One websocket on which one key is subscribed.

It is a task in the subscription's nursery, so that pings are answered while the user is
at work on a message. It holds one page at most: the server sends the next one only when
it is told the cursor of this one, so neither side buffers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, cast

import trio
from trio_websocket import (
    ConnectionClosed,
    ConnectionRejected,
    HandshakeError,
    WebSocketConnection,
    wrap_client_stream,
)

from ._errors import Cut, NotOurs
from ._http import Site
from ._wire import Page, object_from, page_from

__all__ = ["WebSocketLink"]

_OPEN_SECONDS = 10.0
_MAX_FRAME = 16 * 2**20
# What the server may leave unread: some pongs and the answer to a page.
_OUTBOX = 8
# The server says how often it speaks; until then, and in which bounds it is believed.
_PING, _LEAST_PING, _LONGEST_PING = 20.0, 0.05, 120.0
_TROUBLES = (
    ConnectionClosed,
    HandshakeError,
    NotOurs,
    OSError,
    trio.BrokenResourceError,
    trio.ClosedResourceError,
    trio.TooSlowError,
)


class WebSocketLink:
    """Follow one key over one websocket.

    Attributes:
        cursor: From where the server sends on.
        failure: Why the link has ended; None while it has not.
        worked_at: When the server sent its first message.
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
        self.failure: str | None = None
        self.worked_at: float | None = None
        self._site = site
        self._headers = headers
        self._key = key
        self._limit = limit
        self._ping = _PING
        self._page: tuple[str, Page] | None = None
        self._changed = trio.Event()
        self._outgoing, self._outbox = trio.open_memory_channel[str](_OUTBOX)

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Open the websocket and serve it until it ends; started when it works.

        A link that does not come to work is started as well, with its `failure` set.

        Cancellation:
            The connection is closed.
        """
        try:
            await self._open(task_status.started)
        except* _TROUBLES as group:
            self._fail(_why(group))
        if self.worked_at is None:
            task_status.started()

    async def page_after(self, cursor: str) -> Page:
        """Tell the server what the user has, and wait for what comes next.

        Raises:
            Cut: The link has ended.

        Cancellation:
            The page is still there for the next call.
        """
        if cursor != self.cursor:
            self.cursor, self._page = cursor, None
            self._send({"type": "ack", "key": self._key, "cursor": cursor})
        while self._page is None or self._page[0] != cursor:
            if self.failure is not None:
                raise Cut(self.failure)
            await self._changed.wait()
        return self._page[1]

    async def _open(self, works: Callable[[], None]) -> None:
        with trio.fail_after(_OPEN_SECONDS):
            stream = await self._site.open_stream()
        # trio-websocket leaves the stream of a handshake that was turned down open.
        try:
            async with trio.open_nursery() as nursery:
                with trio.fail_after(_OPEN_SECONDS):
                    websocket = await self._shake_hands(nursery, stream)
                    nursery.start_soon(self._write, websocket)
                    await self._subscribe(websocket)
                works()
                await self._read(websocket)
        finally:
            # Nothing is said behind it: the end of the connection says it all.
            await trio.aclose_forcefully(stream)

    async def _shake_hands(
        self, nursery: trio.Nursery, stream: trio.abc.Stream
    ) -> WebSocketConnection:
        return await wrap_client_stream(
            nursery,
            # Any stream will do; it is only annotated more narrowly.
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
            self._take(frame)
            if frame.get("type") == "subscribed":
                self.cursor = str(frame.get("cursor"))
                self.worked_at = trio.current_time()

    async def _read(self, websocket: WebSocketConnection) -> None:
        while True:
            with trio.fail_after(2 * self._ping + _OPEN_SECONDS):
                self._take(await _next_frame(websocket))

    async def _write(self, websocket: WebSocketConnection) -> None:
        async for text in self._outbox:
            await websocket.send_message(text)

    def _take(self, frame: Mapping[str, Any]) -> None:
        match frame.get("type"):
            case "messages":
                self._page = str(frame.get("after")), page_from(frame)
                self._wake()
            case "ping":
                self._send({"type": "pong"})
            case "error":
                raise NotOurs(f"{frame.get('message')} ({frame.get('code')})")
            case "hello":
                self._ping = _believable(frame.get("ping"))
            case _:
                pass  # a later version may have more to say

    def _send(self, frame: Mapping[str, Any]) -> None:
        try:
            self._outgoing.send_nowait(json.dumps(frame))
        except trio.WouldBlock:
            self._fail("the server does not read")
            raise NotOurs("the server does not read") from None

    def _fail(self, why: str) -> None:
        self.failure = self.failure or why
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


async def _next_frame(websocket: WebSocketConnection) -> Mapping[str, Any]:
    message = await websocket.get_message()
    try:
        return object_from(json.loads(message))
    except (TypeError, ValueError, RecursionError):
        raise NotOurs("a frame that is no JSON object") from None


def _believable(ping: Any) -> float:
    if isinstance(ping, bool) or not isinstance(ping, int | float):
        raise NotOurs("the server does not say how often it pings")
    return min(max(float(ping), _LEAST_PING), _LONGEST_PING)


def _why(group: BaseExceptionGroup[Exception]) -> str:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, ConnectionClosed) and error.reason is not None:
        return f"closed with {error.reason.code} {error.reason.reason or ''}".rstrip()
    if isinstance(error, ConnectionRejected):
        return f"the upgrade was answered with HTTP {error.status_code}"
    return str(error) or type(error).__name__
