"""One websocket: what it follows, what it is sent, and why it ends.

There is no ASGI in here. Three tasks serve a websocket: one reads frames and notes what
the client follows; one waits for all of it at once, as a poll does, and sends what is
ready; one pings. A log of which a page was sent is not read again before the client has
acknowledged the page: its cursor is that of the next poll. So a slow client costs one
page, and the log may be trimmed up to what was acknowledged.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeAlias, cast

import trio

from ...core.outcomes import Failure
from ...core.reader import Reader
from ...core.wait_items import (
    EventItem,
    EventState,
    GroupItem,
    GroupState,
    Item,
    ItemState,
    LogItem,
    ReadResult,
)
from ...store import NEW, BadCursor
from ..poll.replies import FAILURES
from ..validation import BadRequest
from .codecs import Codec
from .frames import (
    AckGroup,
    AckLog,
    Frame,
    FrameLimits,
    Ping,
    Pong,
    Subscribe,
    Unsubscribe,
)

__all__ = [
    "BACKEND",
    "OVERLOAD",
    "POLICY",
    "RESTART",
    "TOO_BIG",
    "Closing",
    "WebSocketSettings",
    "WebSocketSession",
]

POLICY, TOO_BIG, BACKEND, RESTART, OVERLOAD = 1008, 1009, 1011, 1012, 1013

_UNACCEPTABLE = 1003

_OVERLOAD = (Failure.TOO_MANY_WAITS, Failure.TOO_MANY_HELD_KEYS)

# Seconds that a frame which is being sent still has when the websocket is to end.
_LAST_SEND = 1.0
# Frames a second that are read in the long run, and in a burst. What a client sends
# beyond that is read later.
_RATE, _BURST = 200.0, 400.0
# A frame may cause a read of every log that is followed, so it counts once for each so
# many items.
_ITEMS_A_FRAME = 10


class Closing(NamedTuple):
    """Why a websocket is closed; code None: the client has left, or is cut."""

    code: int | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class WebSocketSettings:
    """What a websocket may take, and how long.

    Attributes:
        ping: Seconds from ping to ping.
        pong: Seconds within which any frame must follow a ping; at most `ping`.
        send: Seconds within which the client must take a frame.
        limits: What a frame may hold.
    """

    ping: float = 20.0
    pong: float = 10.0
    send: float = 15.0
    limits: FrameLimits = field(default_factory=FrameLimits)


_ItemName: TypeAlias = tuple[type[Item], str]


class WebSocketSession:
    """Serve one websocket, given a way to send it text and a way to receive."""

    def __init__(
        self,
        reader: Reader,
        codec: Codec,
        send: Callable[[str], Awaitable[None]],
        settings: WebSocketSettings,
        allows: Callable[[str], bool],
        visitor: str | None = None,
        count: Callable[[Collection[str]], None] | None = None,
    ) -> None:
        """Prepare to serve; `run` does it.

        Args:
            reader: Reads and waits.
            codec: How frames are read and written.
            send: Sends a text frame; raises OSError when the client has left.
            settings: Limits.
            allows: Says which keys this client may subscribe to.
            visitor: Who the client is, as limits by visitor are counted.
            count: Called with all keys that are followed, when these have changed.
        """
        self._reader = reader
        self._codec = codec
        self._send_text = send
        self._settings = settings
        self._allows = allows
        self._visitor = visitor
        self._count = count
        # What the client follows. News of an item is sent once; until the client has
        # acknowledged it, the item is in `_unacked` and is not waited for.
        self._followed: dict[_ItemName, Item] = {}
        self._unacked: set[_ItemName] = set()
        # Set when the two have changed, for a pump that has nothing to wait for.
        self._changed = trio.Event()
        self._waiting: trio.CancelScope | None = None
        self._sending: trio.CancelScope | None = None
        self._send_lock = trio.Lock()
        self._last_frame = trio.current_time()
        self._paid_until = self._last_frame
        self._closing: Closing | None = None
        self._scope: trio.CancelScope | None = None

    def __repr__(self) -> str:
        return (
            f"<WebSocketSession: {len(self._followed)} followed, "
            f"{len(self._unacked)} unacknowledged, "
            f"{self._closing}>"
        )

    def end(self, code: int | None, reason: str = "") -> None:
        """End the websocket; returns at once. The first reason counts."""
        if self._closing is not None:
            return
        self._closing = Closing(code, reason)
        if self._sending is not None:
            soon = trio.current_time() + _LAST_SEND
            self._sending.deadline = min(self._sending.deadline, soon)
        if self._scope is not None:
            self._scope.cancel()

    async def run(
        self, receive: Callable[[], Awaitable[str | bytes | None]], *first: Frame
    ) -> Closing:
        """Serve until the client leaves, or is closed.

        Args:
            receive: Returns the next frame, bytes for a binary one; None at the end.
            first: Handled as if the client had sent them.

        Returns:
            How to close.

        Cancellation:
            Every wait is withdrawn.
        """
        async with trio.open_nursery() as nursery:
            self._scope = nursery.cancel_scope
            if self._closing is not None:
                nursery.cancel_scope.cancel()
            await self._greet(first)
            nursery.start_soon(self._pump)
            nursery.start_soon(self._ping)
            await self._receive(receive)
            self.end(None)
        assert self._closing is not None
        return self._closing

    # --- receiving ------------------------------------------------------------------

    async def _greet(self, first: tuple[Frame, ...]) -> None:
        hello = self._codec.hello(self._settings.ping)
        if hello is not None:
            await self._send(hello)
        for frame in first:
            await self._handle(frame)

    async def _receive(
        self, receive: Callable[[], Awaitable[str | bytes | None]]
    ) -> None:
        limit = self._settings.limits.max_frame_bytes
        while (text := await receive()) is not None:
            self._last_frame = trio.current_time()
            if _length(text) > limit:
                self.end(TOO_BIG, f"a frame is longer than {limit} bytes")
                return
            if isinstance(text, bytes):
                self.end(_UNACCEPTABLE, "frames are text")
                return
            try:
                await self._handle(self._codec.read(text))
            except (BadRequest, BadCursor) as error:
                await self._refuse("bad_frame", str(error), 400)
            await self._throttle()

    async def _throttle(self) -> None:
        """Read a client that sends too many frames more slowly."""
        now = trio.current_time()
        cost = max(1.0, len(self._followed) / _ITEMS_A_FRAME)
        self._paid_until = max(self._paid_until, now - _BURST / _RATE) + cost / _RATE
        if self._paid_until > now:
            await trio.sleep_until(self._paid_until)

    async def _handle(self, frame: Frame) -> None:
        match frame:
            case Subscribe(items):
                await self._subscribe(items)
            case Unsubscribe(logs, events, groups):
                self._unfollow(LogItem, logs)
                self._unfollow(EventItem, events)
                self._unfollow(GroupItem, groups)
                await self._signal("unsubscribed")
            case AckLog(key, cursor):
                log = self._followed.get((LogItem, key))
                if isinstance(log, LogItem):
                    self._follow(replace(log, cursor=cursor))
            case AckGroup(key, version):
                if (GroupItem, key) in self._followed:
                    self._follow(GroupItem(key, version))
            case Ping():
                await self._send(self._codec.pong())
            case Pong():
                pass

    async def _subscribe(self, items: tuple[Item, ...]) -> None:
        refused = [item.key for item in items if not self._allows(item.key)]
        if refused:
            await self._refuse(
                "forbidden", f"{refused[0]!r} is not granted to you", 403
            )
            return
        most = self._settings.limits.max_items
        names = {(type(item), item.key) for item in items}
        if len(names | self._followed.keys()) > most:
            await self._refuse("limit", f"{most} subscriptions are the limit", 400)
            return
        for item in items:
            await self._subscribe_to(item)

    async def _subscribe_to(self, item: Item) -> None:
        resolved = await self._resolve(item)
        if isinstance(resolved, Failure):
            await self._fail(resolved)
            return
        match resolved:
            case LogItem(key, cursor):
                await self._send(self._codec.subscribed(key, cursor))
            case EventItem(key):
                await self._signal("subscribed", event=key)
            case GroupItem(key):
                await self._signal("subscribed", group=key)
        self._follow(resolved)

    async def _resolve(self, item: Item) -> Item | Failure:
        """Return an item with the cursor or version that "from now on" means now.

        Each later read would take "from now on" for another place, and lose what came
        in between.
        """
        match item:
            case LogItem(key, "new"):
                states = await self._reader.wait_any([LogItem(key, NEW, 1)], 0)
                if isinstance(states, Failure):
                    return states
                return replace(item, cursor=cast("ReadResult", states[0]).page.cursor)
            case GroupItem(_, None):
                states = await self._reader.wait_any([item], 0, self._visitor)
                if isinstance(states, Failure):
                    return states
                return replace(item, version=cast("GroupState", states[0]).version)
            case _:
                return item

    def _follow(self, item: Item) -> None:
        """Wait for an item from now on, or go on from another cursor or version."""
        name = (type(item), item.key)
        if self._followed.get(name) == item and name not in self._unacked:
            return
        is_new = name not in self._followed
        self._followed[name] = item
        self._unacked.discard(name)
        if is_new:
            self._count_followed()
        self._wake_pump()

    def _unfollow(self, kind: type[Item], keys: Iterable[str]) -> None:
        for key in keys:
            self._followed.pop((kind, key), None)
            self._unacked.discard((kind, key))
        self._count_followed()
        self._wake_pump()

    def _count_followed(self) -> None:
        if self._count is not None:
            self._count({key for _, key in self._followed})

    def _wake_pump(self) -> None:
        self._changed.set()
        if self._waiting is not None:
            self._waiting.cancel()

    # --- sending ---------------------------------------------------------------------

    async def _pump(self) -> None:
        """Wait for all items without unacknowledged news; send the news."""
        while True:
            self._changed = trio.Event()
            items = [
                item
                for name, item in self._followed.items()
                if name not in self._unacked
            ]
            if not items:
                await self._changed.wait()
                continue
            states: list[ItemState] | Failure | None = None
            with trio.CancelScope() as self._waiting:
                states = await self._reader.wait_any(items, math.inf, self._visitor)
            self._waiting = None
            if states is not None:
                await self._send_states(items, states)

    async def _send_states(
        self, items: list[Item], states: list[ItemState] | Failure
    ) -> None:
        if isinstance(states, Failure):
            await self._fail(states)
            return
        if not any(state.ready for state in states):
            # A wait without an end returns nothing only when the server drains.
            self.end(RESTART, "the server restarts")
            await trio.sleep_forever()
        for item, state in zip(items, states, strict=True):
            # The client may have changed or dropped the item during an earlier send.
            if state.ready and self._followed.get((type(item), item.key)) is item:
                await self._send_state(item, state)

    async def _send_state(self, item: Item, state: ItemState) -> None:
        name = (type(item), item.key)
        # Before the send: the acknowledgement may arrive before the send returns.
        self._unacked.add(name)
        match state:
            case ReadResult():
                assert isinstance(item, LogItem)
                await self._send(self._codec.messages(item.key, item.cursor, state))
            case EventState():
                # A set event stays set, so it is sent once for each subscription.
                self._unfollow(EventItem, [item.key])
                await self._signal("event", event=item.key)
            case GroupState(_, version):
                await self._signal("group", group=item.key, version=version)

    async def _ping(self) -> None:
        settings = self._settings
        while True:
            await trio.sleep(settings.ping - settings.pong)
            asked = trio.current_time()
            await self._send(self._codec.ping())
            await trio.sleep(settings.pong)
            if self._last_frame < asked:
                self.end(POLICY, "no answer to a ping")

    async def _fail(self, failure: Failure) -> None:
        code, sentence = FAILURES[failure]
        await self._refuse(failure.value, sentence, code)
        overload = failure in _OVERLOAD
        self.end(OVERLOAD if overload else BACKEND, sentence)

    async def _refuse(self, code: str, message: str, status: int) -> None:
        await self._send(self._codec.error(code, message, status))

    async def _signal(self, kind: str, **fields: object) -> None:
        await self._send(self._codec.signal({"type": kind, **fields}))

    async def _send(self, text: str) -> None:
        """Send a whole frame, or end the websocket.

        The send is shielded: a cancelled one may leave half a frame on the wire, and
        the client would read the next frame as the rest of it.
        """
        async with self._send_lock:
            if self._closing is not None:
                # It ended while this frame waited for the lock; nothing is sent.
                await trio.sleep_forever()
            deadline = trio.current_time() + self._settings.send
            with trio.CancelScope(shield=True, deadline=deadline) as scope:
                self._sending = scope
                try:
                    await self._send_text(text)
                except OSError:
                    self.end(None)
            self._sending = None
        if scope.cancelled_caught:
            # Not even a close frame may follow half a frame.
            self._closing = None
            self.end(None)
        await trio.lowlevel.checkpoint()


def _length(text: str | bytes) -> int:
    # A text far beyond the limit is not encoded whole only to be counted.
    return len(text if isinstance(text, bytes) else text[: 2**20].encode())
