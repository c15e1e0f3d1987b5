"""Log lines about what is repeated: its first failure, and that it works again.

A failure that is repeated for hours must be seen once, not each time.
"""

from __future__ import annotations

import logging

import trio

from ._errors import TransientError

__all__ = ["RetryLog"]

_log = logging.getLogger("triopoll.client")


class RetryLog:
    """Report the failures of one operation that is repeated until it works."""

    def __init__(self, what: str) -> None:
        """Name the operation as the log lines do."""
        self._what = what
        self._failing_since = 0.0
        self._failures = 0
        self._warned: set[type[TransientError]] = set()

    def failed(self, error: TransientError, delay: float) -> None:
        """Log a failure: as a warning if it is the first of its kind since it worked.

        Args:
            error: Why it failed.
            delay: Seconds until the next attempt.
        """
        if not self._failures:
            self._failing_since = trio.current_time()
        self._failures += 1
        level = logging.INFO if type(error) in self._warned else logging.WARNING
        self._warned.add(type(error))
        _log.log(
            level,
            "%s failed: %s; the next attempt follows in %.1f s",
            self._what,
            error,
            delay,
        )

    def worked(self) -> None:
        """Log that it works again, if it has failed."""
        if self._failures:
            lasted = trio.current_time() - self._failing_since
            _log.warning(
                "%s works again after %.1f s and %d failed attempts",
                self._what,
                lasted,
                self._failures,
            )
        self._failures = 0
        self._warned.clear()
