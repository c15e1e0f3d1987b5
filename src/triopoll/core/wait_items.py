"""What a wait asks for, and what has been seen of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, cast

from ..ops.metrics import Kind
from ..store import Page
from .outcomes import Failure

__all__ = [
    "EventItem",
    "EventState",
    "GroupItem",
    "GroupState",
    "Item",
    "LogItem",
    "ReadResult",
    "ItemState",
    "GROUP_LEASE",
    "WaitSet",
]

# Seconds that a group which is waited for, or was woken, stays cleared. When they are
# over, those who wait are told of news that is none.
GROUP_LEASE = 300.0


@dataclass(slots=True)
class ReadResult:
    """What came after a cursor.

    It may be shared by everybody who looked at the same time.

    Attributes:
        page: As it was read; without messages and without a gap, nothing came.
        woken: When the wake was that it followed, by `metrics.monotonic`.
        encoded: For whoever puts the messages into words, which has to be done once.
    """

    page: Page
    woken: float | None = None
    encoded: bytes | None = None

    @property
    def ready(self) -> bool:
        """Return whether there is something to tell."""
        return bool(self.page.messages) or self.page.gap


@dataclass(frozen=True, slots=True)
class EventState:
    """Whether an event is set, or was when the wait for it ended."""

    ready: bool


@dataclass(frozen=True, slots=True)
class GroupState:
    """The version that a group has now, and whether it is news."""

    ready: bool
    version: int


@dataclass(frozen=True, slots=True)
class LogItem:
    """Messages after a cursor, so many at most."""

    key: str
    cursor: str
    limit: int


@dataclass(frozen=True, slots=True)
class EventItem:
    """An event, as in the compatible endpoints."""

    key: str
    default: Literal["clear", "set"] = "clear"


@dataclass(frozen=True, slots=True)
class GroupItem:
    """A group event; without a version, the next one from now on is waited for."""

    key: str
    version: int | None = None


Item: TypeAlias = LogItem | EventItem | GroupItem
ItemState: TypeAlias = ReadResult | EventState | GroupState
_Signal: TypeAlias = EventItem | GroupItem


class WaitSet:
    """Several items, and what has been seen of them so far.

    Attributes:
        seen: What was seen last, by place.
        ready: Whether any of them is.
        failure: Why one of them could not be seen.
        lacks_place: Whether it is a log that is to be read from now on: what is known
            of the others is no answer then, as it would lose this one's messages.
        logs: Places of the logs.
        signals: Places of the events and groups.
        log_keys: Keys of the logs.
    """

    __slots__ = (
        "_items",
        "failure",
        "lacks_place",
        "log_keys",
        "logs",
        "ready",
        "seen",
        "signals",
    )

    def __init__(self, items: Sequence[Item]) -> None:
        self._items = items
        self.seen = list(map(_unseen, items))
        self.ready = False
        self.failure: Failure | None = None
        self.lacks_place = False
        places = range(len(items))
        self.logs = [at for at in places if isinstance(items[at], LogItem)]
        self.signals = [at for at in places if not isinstance(items[at], LogItem)]
        self.log_keys = [items[at].key for at in self.logs]

    @property
    def kind(self) -> Kind:
        """Return what kind of wait this is, in the metrics."""
        if not self.signals:
            return "log"
        signals = [self._items[at] for at in self.signals]
        is_group = any(isinstance(item, GroupItem) for item in signals)
        return "group" if is_group else "event"

    def see(self, place: int, seen: ItemState) -> None:
        """Note what was seen of an item."""
        self.seen[place] = seen
        self.ready = self.ready or seen.ready

    def places_of(self, key: str) -> list[int]:
        """Return where a log is; it may be wanted from several cursors."""
        return [at for at in self.logs if self._items[at].key == key]

    def log(self, place: int) -> LogItem:
        """Return what is wanted of a log."""
        return cast("LogItem", self._items[place])

    def signal(self, place: int) -> _Signal:
        """Return the event or the group at a place."""
        return cast("_Signal", self._items[place])

    def cursor(self, place: int) -> str:
        """Return how far a log has been seen."""
        return cast("ReadResult", self.seen[place]).page.cursor

    def version(self, place: int) -> int:
        """Return the version of a group as it was seen."""
        return cast("GroupState", self.seen[place]).version


def _unseen(item: Item) -> ItemState:
    if isinstance(item, LogItem):
        return ReadResult(Page((), item.cursor))
    if isinstance(item, EventItem):
        return EventState(ready=False)
    return GroupState(ready=False, version=item.version or 0)
