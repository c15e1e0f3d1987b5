"""Run a job once in each time slot, by whichever process comes first.

The key of a slot is held for longer than the slot, not for as long as the job runs, and
by no connection. So it makes no difference how fast the job is, whether its process
lives on, and by how much the clocks of the processes differ within the kept time.
ShedLock's users ask for that (lukas-krecan/ShedLock#6) and get a minimal time.
"""

from __future__ import annotations

import time

import trio
from trio.lowlevel import enable_ki_protection

from .._arguments import check_seconds, check_type
from ..client import Database, Key
from ..primitives import Grant
from ._keys import derived_key, logged_at_once

_DAY = 86_400.0
_LONGEST = 65_535 * 60.0
"""Seconds of the longest lease."""


class OncePer:
    """A handle on one time slot of a job.

    Args:
        db: The client, or a database of it.
        key: The name of the job.
        slot: Seconds of the period, for the slot that the clock of this process is in:
            slots begin at multiples of the period since 1970. Or the name of a slot,
            such as the time for which the run was planned.
        keep: Seconds during which no other process gets the slot; longer than clocks
            and schedules can differ. Two periods if left out, a day for a name.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: The key or the name is empty, a number is not above 0, or ``keep``
            is shorter than the period.
        LocalProtocolError: ``keep`` is longer than 65,535 minutes.
    """

    def __init__(
        self, db: Database, key: Key, slot: str | float, *, keep: float | None = None
    ) -> None:
        check_type(db, Database, "db", "a Client or a Database")
        period = 0.0
        if not isinstance(slot, str):
            period = float(check_seconds(slot, "slot"))
            slot = f"{period}/{time.time() // period:.0f}"
        elif not slot:
            raise ValueError(f"slot must not be empty, unlike {slot!r}")
        self.slot: str = slot
        if keep is None:
            keep = min(2 * period, _LONGEST) if period else _DAY
        if check_seconds(keep, "keep") < period:
            raise ValueError(
                f"keep must be at least the period of {period:g} seconds, not {keep!r}"
            )
        # A server that restarts must not hand the slot out again.
        self._lock = db.lock(
            derived_key(key, f"once:{slot}"),
            lease=keep,
            renew=False,
            flags=logged_at_once(db),
        )
        self._grant: Grant | None = None

    def __repr__(self) -> str:
        return f"<OncePer {self.slot!r} by {self._lock!r}>"

    @enable_ki_protection
    async def claim(self) -> bool:
        """Take the slot if no process has it.

        Returns:
            Whether this process runs the job. If so it has the slot until ``keep``
            ends, even if the client closes.

        Raises:
            ConnectionLost: The client does not reconnect.
            NoLeader: The server cannot reach a leader of its replica set.
            trio.ClosedResourceError: The client is closed.

        Cancellation:
            The slot is not taken.
        """
        try:
            grant = await self._lock.try_acquire()
        except trio.WouldBlock:
            return False
        grant.detach()
        self._grant = grant
        return True

    async def give_back(self) -> None:
        """Give back the slot that `claim` has taken, so that a process can take it.

        It does nothing if this handle has not taken the slot.

        Raises:
            NotHeld: The kept time had ended.
            ConnectionLost: There was no connection for ``session_ttl``.
            trio.ClosedResourceError: The client is closed.

        Cancellation:
            Held back until the answer is there, for at most the client's grace. The
            slot is given back in any case.
        """
        grant, self._grant = self._grant, None
        if grant is None:
            await trio.lowlevel.checkpoint()
        else:
            await grant.release()


async def once_per(
    db: Database, key: Key, slot: str | float, *, keep: float | None = None
) -> bool:
    """Return whether this process is the one that runs a job in a time slot.

    ``await OncePer(db, key, slot, keep=keep).claim()``: see there.
    """
    return await OncePer(db, key, slot, keep=keep).claim()
