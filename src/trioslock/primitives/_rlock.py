"""A lock that its holder may take again, level by level.

The holder is a task, as in ``threading``: what it has taken it may take again,
through whatever handle on the key, and others wait until it has given back
every level. `ReentrantHolds` remembers, for one client, which task holds what.

The levels stand on the server too (one lock id, an rcount that allows 255), so
that others see them. But the truth about them is here, under one rule:

    The server counts at least as many levels as the holder has, and the release
    of the last one gives back all.

So a step up may be sent twice, and a step down may get lost: neither frees the
key early, and neither leaves it held.
"""

from __future__ import annotations

from typing import NamedTuple

import trio
from trio.lowlevel import Task, current_task

from .._errors import ConnectionLost, LossReason
from ..link import Requester
from ..protocol import (
    Data,
    LockCommand,
    LockResult,
    ResultCode,
)
from ._acquirable import Acquirable
from ._flags import NO_FLAGS, Flags
from ._grant import Grant
from ._lease import SESSION, Lease
from ._results import refusal

MAX_LEVELS = 255
"""Levels that the server counts for one holder."""

_RCOUNT = MAX_LEVELS - 1
_OK = int(ResultCode.SUCCED)
_NOT_HELD = (int(ResultCode.UNLOCK_ERROR), int(ResultCode.UNOWN_ERROR))
_REFUSED = int(ResultCode.TIMEOUT)


class _Place(NamedTuple):
    """Where a task holds something."""

    db: int
    key: bytes
    task: Task


class ReentrantHolds:
    """What the tasks of one client hold again and again."""

    def __init__(self) -> None:
        self._holds: dict[_Place, Hold] = {}

    def __repr__(self) -> str:
        return f"<ReentrantHolds: {len(self._holds)}>"

    def __len__(self) -> int:
        return len(self._holds)

    def find(self, place: _Place) -> Hold | None:
        """Return what a task holds there, None if nothing."""
        return self._holds.get(place)

    def add(self, place: _Place, hold: Hold) -> None:
        """Note that a task holds something."""
        self._holds[place] = hold

    def remove(self, place: _Place, hold: Hold) -> None:
        """Note that it does so no longer."""
        if self._holds.get(place) is hold:
            del self._holds[place]


class Hold:
    """All levels that one task has on a key.

    Args:
        holds: Where to sign off.
        place: The key and the task.
    """

    def __init__(self, holds: ReentrantHolds, place: _Place) -> None:
        self._holds = holds
        self._place = place
        self.levels: list[Level] = []

    def add(self, level: Level) -> None:
        """Count one more level."""
        level.hold = self
        self.levels.append(level)

    def remove(self, level: Level) -> bool:
        """Count one level less; return whether it was the last."""
        self.levels.remove(level)
        if self.levels:
            return False
        self._holds.remove(self._place, self)
        return True

    def lost(self, reason: LossReason) -> None:
        """Tell every level that all are lost."""
        self._holds.remove(self._place, self)
        levels, self.levels = self.levels, []
        for level in levels:
            level.mark_lost(reason)

    def renewed(self, expiry: int, expiry_flag: int, started_at: float) -> None:
        """Tell every level of the lease that they share."""
        for level in self.levels:
            level.mark_renewed(expiry, expiry_flag, started_at)


class Level(Grant):
    """One level of an `RLock`. Releasing the last one gives the key back.

    Levels may be released in any order. A loss is the loss of all.
    """

    hold: Hold | None = None

    @property
    def command(self) -> LockCommand:
        """The LOCK that this level was made by."""
        return self._command

    @classmethod
    def unlock_of(cls, lock: LockCommand) -> LockCommand:
        """Return the UNLOCK that gives back all levels."""
        return super().unlock_of(lock)._replace(rcount=0)

    def next_level(self) -> Level:
        """Return one more level under the same lock id."""
        return Level(self._requester, self._pattern, self._attempt)

    @property
    def levels(self) -> int:
        """How many levels the holder has now."""
        return 0 if self.hold is None else len(self.hold.levels)

    def lost(self, reason: LossReason) -> None:
        """Note the loss of all levels."""
        if self.hold is None:
            self.mark_lost(reason)
        else:
            self.hold.lost(reason)

    def mark_lost(self, reason: LossReason) -> None:
        """Note the loss of this level alone."""
        super().lost(reason)

    def renewed(self, expiry: int, expiry_flag: int, started_at: float) -> None:
        """Note the new lease of all levels."""
        if self.hold is not None:
            self.hold.renewed(expiry, expiry_flag, started_at)

    def mark_renewed(self, expiry: int, expiry_flag: int, started_at: float) -> None:
        """Note the new lease of this level."""
        super().renewed(expiry, expiry_flag, started_at)

    async def _release(self, data: Data | None = None) -> None:
        if self.hold is None or self.hold.remove(self):
            await super()._release(data)
            return
        self._released = True
        if self._renewal is not None:
            self._renewal.stop()
        await self._step_down(data)

    async def _leave(self) -> LockResult | None:
        await self._release()
        return None

    async def climbed(self, result: LockResult) -> None:
        """Take over the answer to the LOCK of a further level.

        Raises:
            LockLost: The levels before were lost; nothing is held now.
        """
        if result.result == _OK and result.lrcount > 1:
            self._frame = result.data
        elif result.result in (_OK, _REFUSED):
            await self._refused(result)
        else:
            raise refusal(result)

    async def abandon(self) -> None:
        """Give up a level of which it is unknown whether the server counts it."""
        hold = self.hold
        if hold is not None and self.held and hold.remove(self):
            await super()._release()
        self._released = True

    async def _step_down(self, data: Data | None) -> None:
        command = self._unlock(data)._replace(
            request_id=self._requester.new_id(), rcount=_RCOUNT
        )
        try:
            result = await self._requester.request(command, linger=True)
        except ConnectionLost:
            # One level too many there does no harm: see the head of the file.
            return
        if result.result in _NOT_HELD:
            # Then the other levels are not held either.
            assert self.hold is not None
            self.hold.lost("expired")
        if result.result != _OK:
            raise refusal(result)


class RLock(Acquirable):
    """A handle on a key that the task which holds it may take again.

    Args:
        requester: Carries the commands.
        key: Exactly 16 bytes.
        holds: What the client's tasks hold; the same for all of its handles.
        db: Database, 0 to 254.
        lease: How long the key is held; each further level starts it anew.
        flags: Wishes that go with each request.
        renew: Renew a lease of seconds while the body of a grant runs.
    """

    _grant_type = Level

    def __init__(
        self,
        requester: Requester,
        key: bytes,
        holds: ReentrantHolds,
        *,
        db: int = 0,
        lease: Lease = SESSION,
        flags: Flags = NO_FLAGS,
        renew: bool = True,
    ) -> None:
        super().__init__(
            requester, key, db=db, lease=lease, rcount=_RCOUNT, flags=flags, renew=renew
        )
        self._holds = holds

    def levels(self) -> int:
        """Return how many levels the calling task has."""
        hold = self._holds.find(self._find_place())
        return 0 if hold is None else len(hold.levels)

    async def locked(self) -> bool:
        """Return whether anybody holds the key.

        Raises:
            ConnectionLost: The client does not reconnect.
            trio.ClosedResourceError: The client is closed.

        Cancellation:
            Nothing is left on the server.
        """
        return await self._show() is not None

    def _find_place(self) -> _Place:
        return _Place(self.db, self.key, current_task())

    async def _attempt(self, wait: int, wait_flag: int, data: Data | None) -> Grant:
        place = self._find_place()
        hold = self._holds.find(place)
        if hold is not None:
            return await self._step_up(hold, data)
        grant = await super()._attempt(wait, wait_flag, data)
        assert isinstance(grant, Level)
        if grant.held:
            hold = Hold(self._holds, place)
            hold.add(grant)
            self._holds.add(place, hold)
        return grant

    async def _step_up(self, hold: Hold, data: Data | None) -> Level:
        """Take one more level of what the task holds."""
        if len(hold.levels) >= MAX_LEVELS:
            raise RuntimeError(
                f"{self!r} has {MAX_LEVELS} levels already, and the server counts "
                "no more: release some first"
            )
        started_at = trio.current_time()
        level = hold.levels[0].next_level()
        command = self._next_command(level, data)
        if self._renew:
            self._have_renewed(level, started_at)
        hold.add(level)
        try:
            await level.climbed(
                await self._requester.request(command, replay=True, linger=True)
            )
        except BaseException:
            await level.abandon()
            raise
        level.renewed(*self._wire_lease, started_at)
        return level

    def _next_command(self, level: Level, data: Data | None) -> LockCommand:
        """Return a LOCK under the lock id of the levels there are.

        It does not wait: where the key was lost meanwhile, that is to be told.
        """
        command = level.command
        lease = self._wire_lease
        return command._replace(
            request_id=self._requester.follow_up(command.request_id),
            flag=0,
            timeout=0,
            timeout_flag=self._wait_bits,
            expiry=lease.value,
            expiry_flag=lease.flag,
            data=None if data is None else data.encode(),
        )
