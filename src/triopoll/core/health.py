"""Whether this process is ready for new clients, and how late its event loop runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from ..ops.drain import Drain
from ..ops.metrics import Histogram
from ..store import StoreError, StoreFailed, StoreFull
from .kept_result import KeptResult
from .parked_waits import ParkedWaits
from .slock_backend import SlockMonitor

__all__ = ["Health", "measure_loop_lag"]

# Probes of orchestrators usually time out after a second; they should get the reason
# before that.
_PROBE_TIME = 0.8
# Seconds for which a result is reused, so that a flood of probes does not reach the
# store.
_FRESH = 1.0
_LAG_PERIOD = 0.25

_DRAINING = "the server is going away"
_SLOCK = "slock does not answer"
_SLOCK_REFUSES = "slock refuses new keys"
_STORE = "the store of messages does not answer"
_STORE_REFUSES = "the store of messages refuses to store"
_STORE_FULL = "the store of messages is full"
_WAITS = "as many waits are parked as may be"


class Health:
    """Tell why new clients should connect to another process, if they should."""

    def __init__(
        self,
        drain: Drain,
        monitor: SlockMonitor,
        waits: ParkedWaits,
        ping: Callable[[], Awaitable[object]],
        *,
        limit: float,
    ) -> None:
        """Use parts that are open already.

        Args:
            drain: Knows whether the server shuts down.
            monitor: Knows whether slock answers.
            waits: Knows whether there is room.
            ping: Asks whether the message store would take one; raises `StoreError`.
            limit: Seconds within which it must answer, if that is less than the time
                of a probe.
        """
        self._drain = drain
        self._monitor = monitor
        self._waits = waits
        self._ping = ping
        self._limit = min(limit, _PROBE_TIME)
        # Why the store would not take a message; "" if it would.
        self._store_fault = KeptResult[str](_FRESH)

    def __repr__(self) -> str:
        return f"<Health: {self._drain!r}, {self._monitor!r}, {self._waits!r}>"

    async def reasons(self) -> dict[str, str]:
        """Return why this process is not ready: a sentence by code; empty if it is.

        Cancellation:
            Nothing is left behind.
        """
        store_fault = await self._store_fault.get(self._try_store)
        found = {
            "draining": (self._drain.draining, _DRAINING),
            "slock": (
                not self._monitor.up or self._monitor.refuses,
                _SLOCK_REFUSES if self._monitor.up else _SLOCK,
            ),
            "store": (bool(store_fault), store_fault),
            "waits": (self._waits.full, _WAITS),
        }
        return {code: sentence for code, (holds, sentence) in found.items() if holds}

    async def _try_store(self) -> str:
        with trio.move_on_after(self._limit):
            try:
                await self._ping()
            except StoreFull:
                return _STORE_FULL
            except StoreFailed:
                return _STORE_REFUSES
            except StoreError:
                return _STORE
            return ""
        return _STORE


async def measure_loop_lag(lag: Histogram) -> None:
    """Sleep periodically and record how much later than asked the task resumes.

    Cancellation:
        The only end.
    """
    while True:
        due = trio.current_time() + _LAG_PERIOD
        await trio.sleep_until(due)
        lag.observe(trio.current_time() - due)
