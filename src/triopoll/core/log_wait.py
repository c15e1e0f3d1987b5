"""One wait for the first message of one log, without a task of its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

from ..ops.metrics import Metrics
from .log_notifier import LogNotifier, SharedRead, Wake
from .outcomes import Failure
from .parked_waits import ParkedWaits, WaitedKey
from .read_wait import ReadWait
from .wait_items import LogItem, ReadResult

__all__ = ["LogReads", "LogWait"]


@dataclass(frozen=True, slots=True)
class LogReads:
    """What all waits of a process read with.

    Attributes:
        read: Reads a log after a cursor, by key, cursor and limit; returns a failure.
        observe: Records what is returned in the metrics.
        notifier: Wakes the waits.
        waits: Where they are parked.
        metrics: Counts their wakes.
    """

    read: Callable[[str, str, int], Awaitable[ReadResult | Failure]]
    observe: Callable[[ReadResult], ReadResult]
    notifier: LogNotifier
    waits: ParkedWaits
    metrics: Metrics


class LogWait(ReadWait[ReadResult]):
    """Wait until there is something after a cursor: a `Pending`."""

    __slots__ = ("_found", "_item", "_reads")

    def __init__(
        self,
        reads: LogReads,
        item: LogItem,
        deadline: float,
        visitor: str | None,
    ) -> None:
        """Subscribe to the log: read it from now on, and give the result to `found`.

        Raises:
            TooManyWaits: There is no room for one more log.
        """
        parts = reads.notifier, reads.waits, reads.metrics
        super().__init__(item.key, *parts, deadline, "log", visitor)
        self._reads = reads
        self._item = item
        self._found: ReadResult | None = None

    @property
    def shared_read(self) -> SharedRead | None:
        """Return what is to be read after the next wake; None before `found`."""
        item = self._item
        if self._found is None:
            return None
        return partial(self._reads.read, item.key, self._found.page.cursor, item.limit)

    def found(self, result: ReadResult) -> None:
        """Note what was read: its cursor continues from there."""
        self._found = result

    def waited_keys(self) -> Sequence[WaitedKey]:
        """Return the log, with the cursor up to which it was read."""
        found = self._found
        cursor = None if found is None else found.page.cursor
        return (WaitedKey(self._item.key, cursor),)

    def _take(self, found: ReadResult, wake: Wake) -> ReadResult | None:
        if not found.ready:
            self._found = found
            return None
        found.woken = wake.at
        return self._reads.observe(found)

    def _last(self) -> ReadResult:
        assert self._found is not None
        return self._reads.observe(self._found)
