"""A lock that its holder may take again, level by level.

The holder is a task, as in ``threading``: it may take again what it has taken,
through any handle on the key, and others wait until it has released every level.
`ReentrantHolds` remembers, for one client, which task holds what.

The server counts the levels too (one lock id, an rcount that allows 255), so that
other clients see them. But the client's own count decides, under one invariant:

    The server counts at least as many levels as the holder has, and the release
    of the last one releases all.

So a further level may be asked for twice, and the release of one may get lost:
neither frees the key early, and neither leaves it held.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import NamedTuple

import trio
from trio.lowlevel import current_task

from .._errors import ConnectionLost, LossReason
from ..protocol import (
    Data,
    LockCommand,
    LockResult,
    ResultCode,
)
from ._acquirable import ExclusiveHandle
from ._grant import Grant
from ._options import HandleOptions
from ._results import refusal

MAX_LEVELS = 255
"""Levels that the server counts for one holder."""

_RCOUNT = MAX_LEVELS - 1
_OK = int(ResultCode.SUCCED)
_NOT_HELD = (int(ResultCode.UNLOCK_ERROR), int(ResultCode.UNOWN_ERROR))
_REFUSED = int(ResultCode.TIMEOUT)


reentrant_owner: ContextVar[object | None] = ContextVar("reentrant_owner", default=None)
"""Who owns the levels that a task takes, if it takes them for something else."""


class _Owner(NamedTuple):
    """A key, and what holds it or asks for it: a task, unless it is set otherwise."""

    db: int
    key: bytes
    task: object


class ReentrantHolds:
    """The keys that the tasks of one client hold in levels."""

    def __init__(self) -> None:
        self._holds: dict[_Owner, ReentrantHold] = {}

    def __repr__(self) -> str:
        return f"<ReentrantHolds: {len(self._holds)}>"

    def __len__(self) -> int:
        return len(self._holds)

    def find(self, owner: _Owner) -> ReentrantHold | None:
        """Return the levels that a task has on a key, None if it has none."""
        return self._holds.get(owner)

    def add(self, owner: _Owner, hold: ReentrantHold) -> None:
        """Note that a task holds a key."""
        self._holds[owner] = hold

    def remove(self, owner: _Owner, hold: ReentrantHold) -> None:
        """Note that a task no longer holds a key."""
        # After a loss the task may hold the key again, in another hold.
        if self._holds.get(owner) is hold:
            del self._holds[owner]


class ReentrantHold:
    """All levels that one task has on a key.

    Args:
        holds: What the client's tasks hold; this one removes itself from it.
        owner: The key and the task.
    """

    def __init__(self, holds: ReentrantHolds, owner: _Owner) -> None:
        self._holds = holds
        self._owner = owner
        self.levels: list[LevelGrant] = []

    def add(self, level: LevelGrant) -> None:
        """Count one more level."""
        level.hold = self
        self.levels.append(level)

    def remove(self, level: LevelGrant) -> bool:
        """Count one level less; return whether it was the last."""
        self.levels.remove(level)
        if self.levels:
            return False
        self._holds.remove(self._owner, self)
        return True

    def lost(self, reason: LossReason) -> None:
        """Mark every level as lost."""
        # First of all, so that the task's next `acquire` asks the server.
        self._holds.remove(self._owner, self)
        levels, self.levels = self.levels, []
        for level in levels:
            level.mark_lost(reason)

    def renewed(self, expiry: int, expiry_flag: int, started_at: float) -> None:
        """Note the new lease, which all levels share."""
        for level in self.levels:
            level.mark_renewed(expiry, expiry_flag, started_at)


class LevelGrant(Grant):
    """One level of an `RLock`. Releasing the last one releases the key.

    Levels may be released in any order. A loss is the loss of all.
    """

    hold: ReentrantHold | None = None

    @property
    def command(self) -> LockCommand:
        """The LOCK that this level was made by."""
        return self._command

    @classmethod
    def unlock_of(cls, lock: LockCommand) -> LockCommand:
        """Return the UNLOCK of all levels."""
        return super().unlock_of(lock)._replace(rcount=0)

    def next_level(self) -> LevelGrant:
        """Return one more level under the same lock id."""
        return LevelGrant(self._requester, self._prepared, self._attempt)

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
        elif self.held:
            # Confirmed before the first level is counted.
            self.mark_renewed(expiry, expiry_flag, started_at)

    def mark_renewed(self, expiry: int, expiry_flag: int, started_at: float) -> None:
        """Note the new lease of this level."""
        super().renewed(expiry, expiry_flag, started_at)

    async def _release(self, frame: bytes | None = None) -> None:
        if self.hold is None or self.hold.remove(self):
            await super()._release(frame)
            return
        self._released = True
        self._stop_renewal()
        await self._release_level(frame)

    async def _leave(self) -> LockResult | None:
        await self._release()
        return None

    async def accept(self, result: LockResult) -> None:
        """Take over the answer to the LOCK of a further level.

        Raises:
            LockLost: The levels before were lost; nothing is held now.
        """
        # An lrcount of 1: the key was free, so the levels before were lost.
        if result.result == _OK and result.lrcount > 1:
            self._frame = result.data
        elif result.result in (_OK, _REFUSED):
            await self._refused(result)
        else:
            raise refusal(result, self.key)

    async def abandon(self) -> None:
        """Give up a level of which it is not known whether the server counts it."""
        hold = self.hold
        # The other levels can have been released meanwhile: then this is the last one,
        # and its release releases all that the server counts.
        if hold is not None and self.held and hold.remove(self):
            await super()._release()
        self._released = True

    async def _release_level(self, frame: bytes | None) -> None:
        command = self._unlock(frame)._replace(
            request_id=self._requester.new_id(), rcount=_RCOUNT
        )
        try:
            result = await self._requester.request(command, linger=True)
        except ConnectionLost:
            # One level too many on the server does no harm: see the head of the file.
            return
        if result.result in _NOT_HELD:
            # Then the other levels are not held either.
            assert self.hold is not None
            self.hold.lost("expired")
        if result.result != _OK:
            raise refusal(result, self.key)


class RLock(ExclusiveHandle):
    """A handle on a key that the task which holds it may take again.

    Args:
        options: The key, and how to ask for it; each further level starts the lease
            again.
        holds: What the client's tasks hold; the same for all of its handles.
    """

    _grant_type = LevelGrant

    def __init__(self, options: HandleOptions, holds: ReentrantHolds) -> None:
        super().__init__(options, rcount=_RCOUNT)
        self._holds = holds

    def levels(self) -> int:
        """Return how many levels the calling task has."""
        hold = self._holds.find(self._owner())
        return 0 if hold is None else len(hold.levels)

    def _owner(self) -> _Owner:
        return _Owner(self.db, self.key, reentrant_owner.get() or current_task())

    async def _attempt(self, wait: int, wait_flag: int, data: Data | None) -> Grant:
        owner = self._owner()
        hold = self._holds.find(owner)
        if hold is not None:
            return await self._add_level(hold, data)
        grant = await super()._attempt(wait, wait_flag, data)
        assert isinstance(grant, LevelGrant)
        # The loss can have arrived together with the grant.
        if grant.held:
            hold = ReentrantHold(self._holds, owner)
            hold.add(grant)
            self._holds.add(owner, hold)
        return grant

    async def _add_level(self, hold: ReentrantHold, data: Data | None) -> LevelGrant:
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
            self._add_renewal(level, started_at)
        # Counted here before the server counts it: see the invariant of this file.
        hold.add(level)
        try:
            await level.accept(
                await self._requester.request(command, replay=True, linger=True)
            )
        except BaseException:
            await level.abandon()
            raise
        # Each further LOCK starts the lease again, for all levels.
        level.renewed(*self._wire_lease, started_at)
        return level

    def _next_command(self, level: LevelGrant, data: Data | None) -> LockCommand:
        """Return a LOCK under the lock id of the present levels.

        It does not wait: where the key was lost meanwhile, the answer says so.
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
