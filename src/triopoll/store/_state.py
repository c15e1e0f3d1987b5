"""Whether a backend serves, and for how long it has not; each change is one log line.

    Redis at 10.0.0.6:6379 does not answer: Connection refused
    Redis at 10.0.0.6:6379 answers again after 12 s

The lines name the address, so that an operator knows which host to look at.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import NamedTuple

__all__ = ["BackendState", "BackendStatus"]


class BackendStatus(NamedTuple):
    """One backend, for operators.

    Attributes:
        address: Where it is; "" before the first attempt.
        fault: What it does instead of serving; "" while it serves.
        reason: The latest reason for the fault.
        changes: How often another server has taken its place, or the same one has
            started again or was promoted, since this process started.
        changed_at: When that was noticed last, in Unix seconds; None: never.
    """

    address: str
    fault: str
    reason: str
    changes: int
    changed_at: float | None


class BackendState:
    """The state of one backend, as it was last seen.

    Attributes:
        fault: What it does instead of serving; "" while it serves.
        reason: The latest reason for the fault.
    """

    def __init__(
        self,
        log: logging.Logger,
        name: str,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start with a backend of which nothing is known.

        Args:
            log: Where changes are logged, as warnings; a first success for debugging.
            name: What the backend is called in the lines.
            clock: Returns seconds.
        """
        self.fault = ""
        self.reason = ""
        self._log = log
        self._name = name
        self._clock = clock
        self._since: float | None = None
        self._healed = ""
        self._is_known = False
        self._address = ""
        # What serves: where it is, and the history of its writes.
        self._server: tuple[str, str] | None = None
        self._changes = 0
        self._changed_at: float | None = None

    def __repr__(self) -> str:
        return f"<BackendState: {self._name} {self.fault or 'serves'}>"

    def fails(self, address: str, fault: str, reason: str, healed: str) -> None:
        """Note that the backend does not serve.

        Args:
            address: Where it was asked.
            fault: What it does instead, as in "does not answer".
            reason: Why, in its own words.
            healed: What to say when it is over, as in "answers again".
        """
        self._address = address
        if fault != self.fault:
            self._log.warning("%s at %s %s: %s", self._name, address, fault, reason)
        if self._since is None:
            self._since = self._clock()
        self.fault, self.reason, self._healed = fault, reason, healed
        self._is_known = True

    def serves(self, address: str, history: str = "") -> None:
        """Note that the backend does what it is asked.

        Args:
            address: Where it was asked.
            history: Names the history of its writes, if it has one.
        """
        self._note_server(address, history)
        if self._since is not None:
            seconds = self._clock() - self._since
            self._log.warning(
                "%s at %s %s after %.0f s", self._name, address, self._healed, seconds
            )
        elif not self._is_known:
            self._log.debug("%s at %s answers", self._name, address)
        self.fault, self.reason, self._since = "", "", None
        self._is_known = True

    def status(self) -> BackendStatus:
        """Return the state, for operators."""
        counts = self._changes, self._changed_at
        return BackendStatus(self._address, self.fault, self.reason, *counts)

    def _note_server(self, address: str, history: str) -> None:
        self._address = address
        if self._server not in (None, (address, history)):
            self._changes += 1
            self._changed_at = time.time()
        self._server = address, history
