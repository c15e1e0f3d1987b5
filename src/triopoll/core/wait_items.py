"""The items that one wait covers, and the state in which each was last seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, cast

from ..ops.metrics import Kind
from ..store import Page
from .outcomes import Failure
from .parked_waits import WaitedKey

__all__ = [
    "GROUP_LEASE",
    "EventItem",
    "EventState",
    "GroupItem",
    "GroupState",
    "Item",
    "ItemState",
    "LogItem",
    "ReadResult",
    "WaitSet",
]

# Seconds that a group stays cleared after a wait for it, or a wake of it, has begun.
# When they are over, its waits end with a new version although nothing woke it.
GROUP_LEASE = 300.0


@dataclass(slots=True)
class ReadResult:
    """What was read after a cursor. Tasks that read the same may share it.

    Attributes:
        page: As it was read; without messages and without a gap, nothing is new.
        woken: The time of the wake that the read followed, by `metrics.monotonic`.
        encoded: Its JSON text, once a serializer has produced it.
        events: The same as server-sent events.
        ready: There are messages or a gap.
        size: How many bytes the messages have.
    """

    page: Page
    woken: float | None = None
    encoded: bytes | None = None
    events: bytes | None = None
    ready: bool = field(init=False)
    size: int = field(init=False)

    def __post_init__(self) -> None:
        self.ready = bool(self.page.messages) or self.page.gap
        self.size = sum([len(message.data) for message in self.page.messages])


@dataclass(frozen=True, slots=True)
class EventState:
    """Whether an event is set, or was set when the wait for it ended."""

    ready: bool


@dataclass(frozen=True, slots=True)
class GroupState:
    """The current version of a group, and whether it differs from the known one."""

    ready: bool
    version: int


@dataclass(frozen=True, slots=True)
class LogItem:
    """The messages of a log after a cursor, at most `limit` of them."""

    key: str
    cursor: str
    limit: int


@dataclass(frozen=True, slots=True)
class EventItem:
    """An event, as in the poll API."""

    key: str
    default: Literal["clear", "set"] = "clear"


@dataclass(frozen=True, slots=True)
class GroupItem:
    """A group event; without a version, its next version is waited for."""

    key: str
    version: int | None = None


Item: TypeAlias = LogItem | EventItem | GroupItem
ItemState: TypeAlias = ReadResult | EventState | GroupState
_Signal: TypeAlias = EventItem | GroupItem


class WaitSet:
    """The items of one wait and their states. Items are named by their index.

    Attributes:
        visitor: Who waits, as limits by visitor are counted; None for no visitor.
        states: The latest state of each item, in the order of the items.
        ready: Whether any item is ready.
        failure: Why an item could not be read; None if all could.
        lacks_cursor: Whether that item is a log to be read from "new". Its client has
            no cursor yet. An answer with the other items would make it ask from "new"
            again, and lose the messages that came in between.
        logs: Indexes of the logs.
        signals: Indexes of the events and groups.
        log_keys: Keys of the logs.
    """

    __slots__ = (
        "_items",
        "failure",
        "lacks_cursor",
        "log_keys",
        "logs",
        "ready",
        "signals",
        "states",
        "visitor",
    )

    def __init__(self, items: Sequence[Item], visitor: str | None = None) -> None:
        self.visitor = visitor
        self._items = items
        self.states = list(map(_initial_state, items))
        self.ready = False
        self.failure: Failure | None = None
        self.lacks_cursor = False
        indexes = range(len(items))
        self.logs = [at for at in indexes if isinstance(items[at], LogItem)]
        self.signals = [at for at in indexes if not isinstance(items[at], LogItem)]
        self.log_keys = [items[at].key for at in self.logs]

    @property
    def kind(self) -> Kind:
        """Return the kind of this wait in the metrics."""
        if not self.signals:
            return "log"
        signals = [self._items[at] for at in self.signals]
        is_group = any(isinstance(item, GroupItem) for item in signals)
        return "group" if is_group else "event"

    def update(self, index: int, state: ItemState) -> None:
        """Record the state of an item."""
        self.states[index] = state
        self.ready = self.ready or state.ready

    def indexes_of(self, key: str) -> list[int]:
        """Return the indexes of a log; it may be read from several cursors."""
        return [at for at in self.logs if self._items[at].key == key]

    def waited_keys(self) -> Sequence[WaitedKey]:
        """Return all keys, each with its cursor or version, for operators."""
        return tuple(map(_waited_key, self._items, self.states))

    def log(self, index: int) -> LogItem:
        """Return the log at an index."""
        return cast("LogItem", self._items[index])

    def signal(self, index: int) -> _Signal:
        """Return the event or the group at an index."""
        return cast("_Signal", self._items[index])

    def cursor(self, index: int) -> str:
        """Return the cursor up to which a log has been read."""
        return cast("ReadResult", self.states[index]).page.cursor

    def version(self, index: int) -> int:
        """Return the latest known version of a group."""
        return cast("GroupState", self.states[index]).version


def _waited_key(item: Item, state: ItemState) -> WaitedKey:
    if isinstance(state, ReadResult):
        return WaitedKey(item.key, state.page.cursor)
    if isinstance(state, GroupState):
        return WaitedKey(item.key, str(state.version))
    return WaitedKey(item.key)


def _initial_state(item: Item) -> ItemState:
    if isinstance(item, LogItem):
        return ReadResult(Page((), item.cursor))
    if isinstance(item, EventItem):
        return EventState(ready=False)
    return GroupState(ready=False, version=item.version or 0)
