"""One websocket: what it follows, what it is sent, and why it ends.

There is no ASGI in here. Three tasks serve a websocket. One reads frames and notes what
is wanted; one waits, for all of it at once and as a poll does, and sends what is ready;
one pings. A log of which a page has been sent is not read again before its client has
acknowledged the page, which is exactly the next poll's cursor. So a slow client costs
one page, and the log may be trimmed behind what has been acknowledged.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import NamedTuple, cast

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
from .codecs import Codec
from .frames import (
    AckGroup,
    AckLog,
    Alive,
    BadFrame,
    Frame,
    FrameLimits,
    Ping,
    Subscribe,
    Unsubscribe,
)

__all__ = [
    "BACKEND",
    "OVERLOAD",
    "POLICY",
    "RESTART",
    "TOO_BIG",
    "Ending",
    "WebSocketSettings",
    "WebSocketSession",
]

POLICY, TOO_BIG, BACKEND, RESTART, OVERLOAD = 1008, 1009, 1011, 1012, 1013

_UNACCEPTABLE = 1003

# Seconds that a frame which is being sent still has when the websocket is to end.
_LAST_SEND = 1.0
# Frames a second that are read in the long run, and at once: beyond that a client is
# read more slowly. A frame may cost a look at all that is followed, so one counts as
# more where more than so many are.
_RATE, _BURST = 200.0, 400.0
_LOOKS = 10


class Ending(NamedTuple):
    """Why a websocket is closed; code None: there is nobody to tell."""

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


class WebSocketSession:
    """Serve one websocket, given a way to send it text and a way to receive."""

    def __init__(
        self,
        reader: Reader,
        voice: Codec,
        send: Callable[[str], Awaitable[None]],
        settings: WebSocketSettings,
        allows: Callable[[str], bool],
    ) -> None:
        """Prepare to serve; `run` does it.

        Args:
            reader: Waits.
            voice: How frames are read and written.
            send: Sends a text frame; raises OSError when the client has left.
            settings: Limits.
            allows: Says which keys this client may subscribe to.
        """
        self._reader = reader
        self._voice = voice
        self._send_text = send
        self._settings = settings
        self._allows = allows
        # What is wanted, by kind and key; what has been told is not armed.
        self._wanted: dict[tuple[type[Item], str], Item] = {}
        self._told: set[tuple[type[Item], str]] = set()
        self._changed = trio.Event()
        self._waiting: trio.CancelScope | None = None
        self._sending: trio.CancelScope | None = None
        self._turn = trio.Lock()
        self._heard = trio.current_time()
        self._allowance = self._heard
        self._ending: Ending | None = None
        self._scope: trio.CancelScope | None = None

    def __repr__(self) -> str:
        return (
            f"<WebSocketSession: {len(self._wanted)} wanted, {len(self._told)} told, "
            f"{self._ending}>"
        )

    def end(self, code: int | None, reason: str = "") -> None:
        """End the websocket, if nobody has ended it before. Returns at once."""
        if self._ending is not None:
            return
        self._ending = Ending(code, reason)
        if self._sending is not None:
            soon = trio.current_time() + _LAST_SEND
            self._sending.deadline = min(self._sending.deadline, soon)
        if self._scope is not None:
            self._scope.cancel()

    async def run(
        self, receive: Callable[[], Awaitable[str | bytes | None]], *first: Frame
    ) -> Ending:
        """Serve until the client leaves or has to.

        Args:
            receive: Returns the next frame, bytes for a binary one; None at the end.
            first: Treated as if the client had sent them.

        Returns:
            How to close.

        Cancellation:
            Every wait is withdrawn.
        """
        async with trio.open_nursery() as nursery:
            self._scope = nursery.cancel_scope
            if self._ending is not None:
                nursery.cancel_scope.cancel()
            await self._greet(first)
            nursery.start_soon(self._pump)
            nursery.start_soon(self._ping)
            await self._listen(receive)
            self.end(None)
        assert self._ending is not None
        return self._ending

    # --- what comes in --------------------------------------------------------------

    async def _greet(self, first: tuple[Frame, ...]) -> None:
        hello = self._voice.hello(self._settings.ping)
        if hello is not None:
            await self._send(hello)
        for frame in first:
            await self._obey(frame)

    async def _listen(
        self, receive: Callable[[], Awaitable[str | bytes | None]]
    ) -> None:
        limit = self._settings.limits.max_frame_bytes
        while (text := await receive()) is not None:
            self._heard = trio.current_time()
            if _length(text) > limit:
                self.end(TOO_BIG, f"a frame is longer than {limit} bytes")
                return
            if isinstance(text, bytes):
                self.end(_UNACCEPTABLE, "frames are text")
                return
            try:
                await self._obey(self._voice.read(text))
            except (BadFrame, BadCursor) as error:
                await self._refuse("bad_frame", str(error), 400)
            await self._keep_pace()

    async def _keep_pace(self) -> None:
        """Let a client that sends frames without end wait; they cost us looks."""
        now = trio.current_time()
        cost = max(1.0, len(self._wanted) / _LOOKS)
        self._allowance = max(self._allowance, now - _BURST / _RATE) + cost / _RATE
        if self._allowance > now:
            await trio.sleep_until(self._allowance)

    async def _obey(self, frame: Frame) -> None:
        match frame:
            case Subscribe(items):
                await self._subscribe(items)
            case Unsubscribe(logs, events, groups):
                for kind, keys in (
                    (LogItem, logs),
                    (EventItem, events),
                    (GroupItem, groups),
                ):
                    for key in keys:
                        self._wanted.pop((kind, key), None)
                        self._told.discard((kind, key))
                self._change()
                await self._send(self._voice.signal({"type": "unsubscribed"}))
            case AckLog(key, cursor):
                log = self._wanted.get((LogItem, key))
                if isinstance(log, LogItem):
                    self._arm(replace(log, cursor=cursor))
            case AckGroup(key, version):
                if (GroupItem, key) in self._wanted:
                    self._arm(GroupItem(key, version))
            case Ping():
                await self._send(self._voice.pong())
            case Alive():
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
        if len(names | self._wanted.keys()) > most:
            await self._refuse("limit", f"{most} subscriptions are the limit", 400)
            return
        for item in items:
            await self._subscribe_to(item)

    async def _subscribe_to(self, item: Item) -> None:
        if isinstance(item, LogItem):
            if item.cursor == NEW:
                # Now, since "new" at a later look would be another place.
                look = await self._reader.messages(item.key, NEW, 1, 0)
                if isinstance(look, Failure):
                    await self._fail(look)
                    return
                item = replace(item, cursor=look.page.cursor)
            await self._send(self._voice.subscribed(item.key, item.cursor))
        else:
            kind = "event" if isinstance(item, EventItem) else "group"
            if isinstance(item, GroupItem) and item.version is None:
                # Likewise: each wait that began without one would begin anew there.
                seen = await self._reader.wait_any([item], 0)
                if isinstance(seen, Failure):
                    await self._fail(seen)
                    return
                item = replace(item, version=cast("GroupState", seen[0]).version)
            await self._send(self._voice.signal({"type": "subscribed", kind: item.key}))
        self._arm(item)

    def _arm(self, item: Item) -> None:
        """Wait for this from now on, or from another place."""
        name = (type(item), item.key)
        if self._wanted.get(name) == item and name not in self._told:
            return
        self._wanted[name] = item
        self._told.discard(name)
        self._change()

    def _change(self) -> None:
        self._changed.set()
        if self._waiting is not None:
            self._waiting.cancel()

    # --- what goes out --------------------------------------------------------------

    async def _pump(self) -> None:
        while True:
            self._changed = trio.Event()
            armed = [
                item for name, item in self._wanted.items() if name not in self._told
            ]
            if not armed:
                await self._changed.wait()
                continue
            seen: list[ItemState] | Failure | None = None
            with trio.CancelScope() as self._waiting:
                seen = await self._reader.wait_any(armed, math.inf)
            self._waiting = None
            if seen is not None:
                await self._tell(armed, seen)

    async def _tell(self, armed: list[Item], seen: list[ItemState] | Failure) -> None:
        if isinstance(seen, Failure):
            await self._fail(seen)
            return
        if not any(each.ready for each in seen):
            # Only a drain ends an endless wait with nothing.
            self.end(RESTART, "the server restarts")
            await trio.sleep_forever()
        for item, news in zip(armed, seen, strict=True):
            # It may have been changed or dropped since.
            if news.ready and self._wanted.get((type(item), item.key)) is item:
                await self._tell_one(item, news)

    async def _tell_one(self, item: Item, news: ItemState) -> None:
        name = (type(item), item.key)
        # First, so that an acknowledgement can only come later.
        self._told.add(name)
        match news:
            case ReadResult():
                assert isinstance(item, LogItem)
                await self._send(self._voice.messages(item.key, item.cursor, news))
            case EventState():
                # A set event stays set, so it is told once for each time it is asked.
                self._wanted.pop(name, None)
                self._told.discard(name)
                await self._send(
                    self._voice.signal({"type": "event", "event": item.key})
                )
            case GroupState(_, version):
                shape: dict[str, object] = {"type": "group", "group": item.key}
                await self._send(self._voice.signal({**shape, "version": version}))

    async def _ping(self) -> None:
        settings = self._settings
        while True:
            await trio.sleep(settings.ping - settings.pong)
            asked = trio.current_time()
            await self._send(self._voice.ping())
            await trio.sleep(settings.pong)
            if self._heard < asked:
                self.end(POLICY, "no answer to a ping")

    async def _fail(self, failure: Failure) -> None:
        code, sentence = FAILURES[failure]
        await self._refuse(failure.value, sentence, code)
        overload = failure is Failure.TOO_MANY_WAITS
        self.end(OVERLOAD if overload else BACKEND, sentence)

    async def _refuse(self, code: str, message: str, status: int) -> None:
        await self._send(self._voice.error(code, message, status))

    async def _send(self, text: str) -> None:
        """Send a frame whole, or end the websocket: half a frame garbles the next."""
        async with self._turn:
            if self._ending is not None:
                # It ended while this one waited for its turn.
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
            # Whatever was to be said would stand behind half a frame.
            self._ending = None
            self.end(None)
        await trio.lowlevel.checkpoint()


def _length(text: str | bytes) -> int:
    # What is far too long need not be encoded to be counted.
    return len(text if isinstance(text, bytes) else text[: 2**20].encode())
