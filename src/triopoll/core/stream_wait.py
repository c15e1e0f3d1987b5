"""What one read of a Durable Stream finds, and one wait for it without a task."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, TypeAlias

from ..ops.metrics import Metrics
from ..store import Refused, StreamPage, Where
from .log_notifier import LogNotifier, SharedRead, Wake
from .outcomes import Failure
from .parked_waits import ParkedWaits, WaitedKey
from .read_wait import ReadWait

__all__ = ["StreamFound", "StreamRead", "StreamReads", "StreamWait"]

StreamFound: TypeAlias = StreamPage | Refused | Failure


class StreamRead(NamedTuple):
    """What a reader found.

    Attributes:
        page: With entries, or at the end of a closed stream, or else when the time is
            over or the server drains.
        woken: When the wait for it was over, by `metrics.monotonic`; None without one.
    """

    page: StreamPage
    woken: float | None = None

    @property
    def ready(self) -> bool:
        """Whether there is something to answer a wait with."""
        return bool(self.page.entries) or self.page.view.closed


@dataclass(frozen=True, slots=True)
class StreamReads:
    """What all waits of a process read with.

    Attributes:
        read: Reads a page, by path and offset, within the limit; a failure is returned.
        count: Counts a refusal in the metrics, and returns it.
        notifier: Wakes the waits.
        waits: Where they are parked.
        metrics: Counts their wakes.
    """

    read: Callable[[str, Where], Awaitable[StreamFound]]
    count: Callable[[Refused], Refused]
    notifier: LogNotifier
    waits: ParkedWaits
    metrics: Metrics


class StreamWait(ReadWait[StreamRead | Refused]):
    """Wait for more of a stream, or for its end: a `Pending`."""

    __slots__ = ("_page", "_path", "_reads")

    def __init__(
        self, reads: StreamReads, path: str, deadline: float, visitor: str | None
    ) -> None:
        """Subscribe to the stream: read it from now on, and give the page to `found`.

        Raises:
            TooManyWaits: There is no room for one more stream.
        """
        parts = reads.notifier, reads.waits, reads.metrics
        super().__init__(path, *parts, deadline, "stream", visitor)
        self._reads = reads
        self._path = path
        self._page: StreamPage | None = None

    @property
    def shared_read(self) -> SharedRead | None:
        """Return what is to be read after the next wake; None before `found`."""
        if self._page is None:
            return None
        return partial(self._reads.read, self._path, self._page.end)

    def found(self, page: StreamPage) -> None:
        """Note what was read: its end continues from there."""
        self._page = page

    def waited_keys(self) -> Sequence[WaitedKey]:
        """Return the stream, with the offset up to which it was read."""
        end = None if self._page is None else str(self._page.end)
        return (WaitedKey(self._path, end),)

    def _take(
        self, found: StreamPage | Refused, wake: Wake
    ) -> StreamRead | Refused | None:
        if isinstance(found, Refused):
            return self._reads.count(found)
        read = StreamRead(found, wake.at)
        if read.ready:
            return read
        self._page = found
        return None

    def _last(self) -> StreamRead:
        assert self._page is not None
        return StreamRead(StreamPage(self._page.view, self._page.end, ()))
