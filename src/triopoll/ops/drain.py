"""The drain of one process: end parked waits before the server stops.

A deploy must not cut parked requests: a client whose connection breaks cannot tell a
restart from an outage, and all of them would come back in the same instant. So a server
that is asked to stop first *begins* the drain (readiness turns false, and load
balancers send no new clients), later *releases* it (parked waits end, a few at a time,
and are answered "poll again"), and only then stops.

`triopoll serve` calls `begin` and `release` itself. Other servers know nothing of a
drain: they run the lifespan's shutdown when the parked requests have ended or have been
cut, which is too late. Under them `triopoll.ops.signals` releases the drain when the
signal arrives that stops the server.

Waits are registered as cancel scopes, not raced against an event: a race would cost
each parked poll a nursery and a second task.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Generator

import trio

__all__ = ["Drain"]

# Seconds between two chunks, and the least number of waits in one: a handful of waits
# is not spread over the whole window.
_STEP = 0.05
_LEAST_CHUNK = 4


class Drain:
    """Whether the server is stopping, and the waits to end when it does.

    Attributes:
        draining: True from `begin` on: new clients should go elsewhere.
        released: True from `release` on: a wait entered now ends at once.
        driven: True where the server itself calls `begin` and `release`.
    """

    def __init__(self) -> None:
        self.driven = False
        self.draining = False
        self.released = False
        # A dict keeps the order of insertion, and the oldest wait is released first.
        self._parked: dict[object, Callable[[], None]] = {}

    def __repr__(self) -> str:
        state = "released" if self.released else "draining" if self.draining else "open"
        return f"<triopoll.Drain: {state}, {len(self._parked)} parked>"

    @property
    def parked(self) -> int:
        """Return how many waits are parked."""
        return len(self._parked)

    @contextlib.contextmanager
    def interruptible(self) -> Generator[trio.CancelScope, None, None]:
        """Open a cancel scope that the drain cancels when it releases this wait.

        Returns:
            The scope. After the block, ``scope.cancelled_caught`` is True if the
            drain ended the wait: answer "poll again". Keep anything that must not be
            interrupted (taking a message, answering) outside the block.

        Cancellation:
            Cancelling from outside passes through; the wait is no longer registered
            when the block has been left, however it was left.
        """
        with trio.CancelScope() as scope, self.calling(scope.cancel):
            yield scope

    @contextlib.contextmanager
    def calling(self, callback: Callable[[], None]) -> Generator[None, None, None]:
        """Call `callback` once, from the drain's task, when it releases this wait.

        Args:
            callback: Must be quick and must not raise. It is called at once if the
                drain has been released already, and never after the block.
        """
        token = object()
        self.enter(token, callback)
        try:
            yield
        finally:
            self.leave(token)

    def enter(self, token: object, callback: Callable[[], None]) -> None:
        """Begin what `calling` does, without a block.

        Args:
            token: Identifies the wait for `leave`; hashable.
            callback: As for `calling`.
        """
        if self.released:
            callback()
        else:
            self._parked[token] = callback

    def leave(self, token: object) -> None:
        """End what `enter` began; the wait need not be registered any more."""
        self._parked.pop(token, None)

    async def wait(self) -> None:
        """Wait until the drain releases this task.

        Cancellation:
            Nothing is left behind.
        """
        with self.interruptible():
            await trio.sleep_forever()

    def begin(self) -> None:
        """Turn readiness off; parked waits stay parked, and new ones may still park.

        Calling it again changes nothing.
        """
        self.draining = True

    async def release(self, window: float) -> None:
        """End all parked waits in chunks; waits entered from now on end at once.

        Args:
            window: Seconds over which many waits are spread, >= 0. A few end sooner.
                0 ends all of them now.

        Cancellation:
            The waits that were not released stay parked; calling again goes on.
        """
        self.begin()
        self.released = True
        steps = max(1, math.floor(window / _STEP))
        chunk = max(_LEAST_CHUNK, math.ceil(len(self._parked) / steps))
        while self._parked:
            self._release_some(chunk if window else len(self._parked))
            await trio.sleep(_STEP if window else 0)
        await trio.lowlevel.checkpoint()

    def _release_some(self, count: int) -> None:
        for token in list(self._parked)[:count]:
            self._parked.pop(token)()
