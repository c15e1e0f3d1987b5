"""A log that one task reads page after page, within one subscription to it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from .log_notifier import LogSubscription, SharedRead, Wake
from .outcomes import Failure, OperationFailed
from .wait_items import ReadResult

__all__ = ["FollowedLog", "ReadPage"]

# Reads a page: of a key, from a cursor, so many messages, within so many seconds, with
# the bytes of one of so many pages, and whether the reader has what is before it.
ReadPage: TypeAlias = Callable[
    [str, str, int, float, int, bool], Awaitable[ReadResult | Failure]
]


@dataclass(slots=True)
class FollowedLog:
    """Where the reader of a log is.

    Attributes:
        key: The log.
        cursor: What was read; the next page begins behind it.
        limit: Messages of a page.
        within: Seconds that reading a page may take.
        subscription: To the log.
        read_page: Reads a page.
        is_acked: The client has what is before the cursor. It sent the first one; by
            the later ones it only has been sent what is before them.
        wake: What the latest wait ended with. The tasks that it woke share their reads.
        at_end: Nothing is behind the cursor, unless a wake has come since.
    """

    key: str
    cursor: str
    limit: int
    within: float
    subscription: LogSubscription
    read_page: ReadPage
    is_acked: bool = True
    wake: Wake | None = None
    at_end: bool = False

    @property
    def next_read(self) -> SharedRead:
        """Return what reads the next page; alike for all who are at the same place."""
        where = self.key, self.cursor, self.limit
        return partial(self.read_page, *where, self.within, 1, self.is_acked)

    async def wait(self) -> None:
        """Wait for a wake of the log; there may be something to read then.

        Cancellation:
            A wake is not lost.
        """
        wakes = await self.subscription.wait(self.next_read)
        # Before the next read, which may be cancelled.
        self.wake, self.at_end = wakes[self.key], False

    async def read(self) -> ReadResult:
        """Read the next page, once for all tasks that the same wake has woken.

        Raises:
            OperationFailed: The log could not be read.

        Cancellation:
            Nothing has changed.
        """
        read = self.next_read
        found: ReadResult | Failure
        found = await (read() if self.wake is None else self.wake.flight(read).result())
        if isinstance(found, Failure):
            raise OperationFailed(found)
        self.cursor, self.at_end = found.page.cursor, not found.ready
        self.is_acked = False
        return found
