"""Many tasks that wait for locks, and a record of how each one ended."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import trio

from trioslock import Client, LockLost, SlockError

KEYS = 50


@dataclass
class ManyWaiters:
    """Tasks that each want one of ``KEYS`` locks once, by way of one client.

    ``ends`` is how each task ended; ``overlaps`` counts grants that were made
    while another of these tasks held the key.
    """

    client: Client
    ends: dict[int, str] = field(default_factory=dict)
    overlaps: int = 0
    granted: Counter[int] = field(default_factory=Counter)
    _holders: Counter[bytes] = field(default_factory=Counter)

    async def want(self, number: int, patience: float) -> None:
        """Take a lock once, give it back, and note how that went."""
        key = key_of(number)
        end = "timed out"
        with trio.move_on_after(patience):
            try:
                async with self.client.lock(key):
                    self.granted[number] += 1
                    self.overlaps += self._holders[key] > 0
                    self._holders[key] += 1
                    try:
                        await trio.sleep(0.002)
                    finally:
                        self._holders[key] -= 1
                end = "granted"
            except LockLost as error:
                end = f"lost: {error.reason}"
            except SlockError as error:
                end = type(error).__name__
        assert number not in self.ends, "a task ended twice"
        self.ends[number] = end

    def count(self) -> Counter[str]:
        return Counter(self.ends.values())


def key_of(number: int) -> bytes:
    return b"many--%010d" % (number % KEYS)
