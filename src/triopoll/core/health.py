"""Is this process ready for new clients, and does its loop turn in time?"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from ..ops.drain import Drain
from ..ops.metrics import Histogram
from ..store import StoreError
from .parked_waits import ParkedWaits
from .slock_backend import SlockMonitor

__all__ = ["Health", "measure_loop_lag"]

# Probes give up after a second, as a rule. They should learn why before that.
_PATIENCE = 0.8
# Whoever asks sooner gets the last answer: a flood of probes is none for the store.
_FRESH = 1.0
_LAG_PERIOD = 0.25

_DRAINING = "the server is going away"
_SLOCK = "slock does not answer"
_STORE = "the store of messages does not answer"
_WAITS = "as many waits are parked as may be"


class Health:
    """Say why new clients should go elsewhere, if they should."""

    def __init__(
        self,
        drain: Drain,
        watch: SlockMonitor,
        waits: ParkedWaits,
        ping: Callable[[], Awaitable[object]],
        *,
        limit: float,
    ) -> None:
        """Use what others have opened.

        Args:
            drain: Knows whether the server goes away.
            watch: Knows whether slock answers.
            waits: Know whether there is room.
            ping: Asks the store of messages; raises `StoreError`.
            limit: Seconds within which it must answer, if that is shorter than a
                probe's patience.
        """
        self._drain = drain
        self._watch = watch
        self._waits = waits
        self._ping = ping
        self._limit = min(limit, _PATIENCE)
        self._asking = trio.Lock()
        self._store_answers = True
        self._fresh_until = -1.0

    def __repr__(self) -> str:
        return f"<Health: {self._drain!r}, {self._watch!r}, {self._waits!r}>"

    async def reasons(self) -> dict[str, str]:
        """Return why this process is not ready, a sentence by word; empty if it is.

        Cancellation:
            Nothing is left behind.
        """
        store_answers = await self._ask_store()
        found = {
            "draining": (self._drain.draining, _DRAINING),
            "slock": (not self._watch.up, _SLOCK),
            "store": (not store_answers, _STORE),
            "waits": (self._waits.full, _WAITS),
        }
        return {word: sentence for word, (holds, sentence) in found.items() if holds}

    async def _ask_store(self) -> bool:
        # One asks; those who come meanwhile take its answer.
        async with self._asking:
            if trio.current_time() >= self._fresh_until:
                self._store_answers = await self._try_store()
                self._fresh_until = trio.current_time() + _FRESH
            return self._store_answers

    async def _try_store(self) -> bool:
        with trio.move_on_after(self._limit):
            try:
                await self._ping()
            except StoreError:
                return False
            return True
        return False


async def measure_loop_lag(lag: Histogram) -> None:
    """Ask to be woken every now and then, and note how much later it happened.

    Cancellation:
        Is how it ends.
    """
    while True:
        due = trio.current_time() + _LAG_PERIOD
        await trio.sleep_until(due)
        lag.observe(trio.current_time() - due)
