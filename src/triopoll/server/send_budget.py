"""A limit on the bytes that wait in this process to be read by slow clients."""

from __future__ import annotations

import logging
import math
from collections.abc import Generator
from contextlib import contextmanager

import trio

__all__ = ["SendBudget"]

logger = logging.getLogger("triopoll.serving")

# Seconds between two log lines about clients that were cut.
_LOG_INTERVAL = 60.0


class SendBudget:
    """The writes that the kernel has not taken whole, of all connections together.

    Each client may take as long as the write deadline to read its answer, and all of
    the answer is kept until then. Some hundred clients that do not read would fill the
    memory. So beyond a limit the writes are cut whose clients have read nothing for the
    longest time.

    Attributes:
        limit: How many bytes may wait.
        waiting: How many bytes wait.
        cut: How many writes were cut.
    """

    def __init__(self, limit: float = math.inf) -> None:
        self.limit = limit
        self.waiting = 0
        self.cut = 0
        # With the size of each. The one whose client has read last is at the end.
        self._writes: dict[trio.CancelScope, int] = {}
        self._next_log = -math.inf

    def __repr__(self) -> str:
        return f"<SendBudget: {self.waiting} of {self.limit} bytes wait>"

    @contextmanager
    def wait(self, size: int) -> Generator[trio.CancelScope]:
        """Return a scope to write so many bytes in, which is cancelled if it is cut.

        Cancellation:
            The bytes wait no more.
        """
        with trio.CancelScope() as scope:
            self._writes[scope] = size
            self.waiting += size
            try:
                self._cut_longest()
                yield scope
            finally:
                self._remove(scope)

    def progress(self, scope: trio.CancelScope) -> None:
        """Note that the client of a write has read something."""
        # None, if it was cut at this moment.
        if (size := self._writes.pop(scope, None)) is not None:
            self._writes[scope] = size

    def _cut_longest(self) -> None:
        cut = 0
        while self.waiting > self.limit:
            scope = next(iter(self._writes))
            # Now, not when its task runs: it counts for the next one otherwise.
            self._remove(scope)
            scope.cancel()
            cut += 1
        self.cut += cut
        if cut and trio.current_time() >= self._next_log:
            self._next_log = trio.current_time() + _LOG_INTERVAL
            logger.warning(
                "more than %d bytes wait to be read by slow clients: those that have "
                "read nothing for the longest time are cut, %d until now",
                *(self.limit, self.cut),
            )

    def _remove(self, scope: trio.CancelScope) -> None:
        self.waiting -= self._writes.pop(scope, 0)
