"""An event with a version: a member that missed a wake-up gets it with its next wait.

The group is *set* while its key is free, *clear* while it is held under a lock
id that carries the version (first half) and all ones. A member waits under the
version that it knows. `wakeup` raises the version by one and wakes all members that
wait, without leaving the group set; a member that was not waiting knows an
older version, so its next wait returns at once with the new one.

A wake-up puts the holder into the queue again, with the parameters of its LOCK, so
every clear here asks for a short wait. Only one command waits that long: a clear under
a version newer than the server's, which lets the server find out that it is newer.
A wake-up sets a group that was cleared by a client that asked for no wait.
"""

from __future__ import annotations

import secrets

import trio

from .._arguments import check_int
from .._errors import NotHeld
from ..protocol import (
    Data,
    DataLike,
    LockFlag,
    LockResult,
    ResultCode,
    TimeoutFlag,
    UnlockFlag,
    WireDuration,
    as_data,
)
from ._handle import Handle, decoded
from ._options import HandleOptions
from ._results import refusal

_HALF = 8
_LIMIT = 1 << 8 * _HALF
_GROUP = b"\xff" * _HALF
_VERSIONED = int(TimeoutFlag.LOCK_ID_IS_VERSION)
_UPDATE = int(LockFlag.UPDATE)
_SHORT_WAIT = WireDuration(250, _VERSIONED | int(TimeoutFlag.MILLISECONDS))
_WAKE = int(UnlockFlag.FIRST | UnlockFlag.TO_LOCK_WAIT)
_HELD = (ResultCode.SUCCED, ResultCode.LOCKED_ERROR)
_FREE = (ResultCode.SUCCED, ResultCode.UNLOCK_ERROR, ResultCode.UNKNOWN_DB)


class GroupEvent(Handle):
    """A handle on a group event, and the version that its user knows.

    Make one for each member: `wait` changes `version`. Handles of different members
    share nothing but the key, in one process or in several.

    Args:
        options: The key, and how to ask for it. The lease is the time after which a
            cleared group falls back to set, rounded up to whole ones; ``FOREVER`` for
            never. The flags are those of each clear.
        member: Number of the member, below 2**64 - 1, as other slock clients
            have it. None for a fresh one for each wait, which is always safe;
            a member with a number can wait only once at a time.
        version: The version that the member knows, below 2**64.

    Attributes:
        version: The latest version that this handle has seen.
    """

    def __init__(
        self,
        options: HandleOptions,
        *,
        member: int | None = None,
        version: int = 0,
    ) -> None:
        super().__init__(options)
        if member is not None:
            check_int(member, "member", 0, _LIMIT - 2)
        check_int(version, "version", 0, _LIMIT - 1)
        self.member = member
        self.version: int = version
        self._ttl = options.wire_lease(whole_seconds=True)
        self._waiting = False

    def _state(self) -> str:
        member = "" if self.member is None else f", member {self.member}"
        return f", version {self.version}{member}"

    async def clear(self, data: DataLike | None = None) -> None:
        """Clear the group: a member that knows its version waits from now on.

        A group that is clear under another version keeps that version, and this
        handle adopts it.

        Args:
            data: The value to set, or another operation, such as ``Data.unset()``.

        Raises:
            LockError: A lock that is no group event holds the key.
            ConnectionLost: The client does not reconnect.
            trio.ClosedResourceError: The client is closed.

        Cancellation:
            The group may have been cleared.
        """
        operation = as_data(data)
        result = await self._clear(operation)
        if result.result == ResultCode.TIMEOUT and await self._adopt_holder():
            # The server knows an older version: it has restarted without its log.
            result = await self._clear(operation)
        if result.result not in _HELD:
            raise refusal(result, self.key)
        self._adopt(result)

    async def set(self, data: DataLike | None = None) -> None:
        """Set the group: wake all members that wait, whatever version they know.

        Args:
            data: The value to set, or another operation. Applied only if the group
                is clear.

        Raises:
            ConnectionLost: The client does not reconnect.
            trio.ClosedResourceError: The client is closed.

        Cancellation:
            The group may have been set.
        """
        command = self._unlock(flag=UnlockFlag.FIRST, data=as_data(data))
        result = await self._requester.request(command, replay=True)
        if result.result not in _FREE:
            raise refusal(result, self.key)

    async def wakeup(self, data: DataLike | None = None) -> int:
        """Wake all members that wait, with a new version; the group stays clear.

        Args:
            data: The value to set, or another operation, such as ``Data.push("text")``.
                Members get the value.

        Returns:
            The new version.

        Raises:
            NotHeld: The group is set, so no member can be waiting. Clear it first.
            ConnectionLost: The connection broke; the members may have been
                woken. It is not sent again: a member that waits again would wake
                twice.
            trio.ClosedResourceError: The client is closed.

        Cancellation:
            The members may have been woken.
        """
        result = await self._requester.request(
            self._unlock(flag=_WAKE, data=as_data(data))
        )
        if result.result in (ResultCode.UNLOCK_ERROR, ResultCode.UNKNOWN_DB):
            raise NotHeld(
                f"{self!r} is set, so no member waits: clear it first",
                key=self.key,
            )
        if result.result != ResultCode.SUCCED:
            raise refusal(result, self.key)
        self._adopt(result)
        return self.version

    async def wait(self) -> Data | None:
        """Wait until the group is set or woken; adopt the version it has then.

        Returns at once if the group is set, or if its version is not the one
        that this handle knows. A member that was woken from its wait learns the
        new version with its next wait, which returns at once as well: look at
        what the wake-up was about before waiting again, and look again after it.

        Returns:
            The key's value at that moment, None if it has none.

        Raises:
            trio.BusyResourceError: Another task waits as the same member.
            LockError: The server ended the wait (its database was flushed).
            ConnectionLost: The client does not reconnect.
            trio.ClosedResourceError: The client is closed.

        Cancellation:
            The wait is withdrawn on the server; nothing waits there. The version
            stays as it is, so the next wait returns at once if a wake-up was missed.
        """
        if self.member is None:
            return await self._wait(secrets.randbelow(_LIMIT - 1))
        if self._waiting:
            raise trio.BusyResourceError(
                f"{self!r} waits already: a member with a number waits once at a "
                "time, so make another handle for the other task"
            )
        # Two waits of one member have one lock id: a withdrawal would end both.
        self._waiting = True
        try:
            return await self._wait(self.member)
        finally:
            self._waiting = False

    async def wait_and_reset(self) -> Data | None:
        """Wait until the group is set or woken, then clear it if it is set.

        Returns:
            The key's value when the wait ended, None if it had none.

        Raises:
            trio.BusyResourceError: Another task waits as the same member.
            LockError: The server ended the wait, or a lock that is no group
                event holds the key.
            ConnectionLost: The client does not reconnect.
            trio.ClosedResourceError: The client is closed.

        Cancellation:
            While waiting as for `wait`. After it the group may have been
            cleared.
        """
        data = await self.wait()
        await self.clear()
        return data

    async def is_set(self) -> bool:
        """Return whether the group is set.

        Raises:
            ConnectionLost: The client does not reconnect.
            trio.ClosedResourceError: The client is closed.

        Cancellation:
            Nothing is left on the server.
        """
        result = await self._requester.request(self._lock(), replay=True)
        if result.result == ResultCode.SUCCED:
            return True
        if result.result == ResultCode.TIMEOUT:
            return False
        raise refusal(result, self.key)

    async def _wait(self, member: int) -> Data | None:
        # The server compares the first half of the lock id with the group's version.
        requester = self._requester
        value, flag = requester.wait
        lock_id = self._id(member.to_bytes(_HALF, "little"))
        result = await requester.acquire(
            self._lock(lock_id=lock_id, wait=WireDuration(value, flag | _VERSIONED))
        )
        if result.result != ResultCode.SUCCED:
            raise refusal(result, self.key)
        # The answer to an older version carries the holder's lock id, and in it the
        # version of the group.
        if result.lock_id != lock_id:
            self._adopt(result)
        return decoded(result.data)

    async def _clear(self, data: Data | None) -> LockResult:
        value, flag = _SHORT_WAIT
        command = self._lock(
            lock_id=self._id(_GROUP),
            flag=_UPDATE,
            wait=WireDuration(value, flag | self._options.flags.wait_bits),
            lease=self._ttl,
            data=data,
        )
        return await self._requester.request(command, replay=True)

    async def _adopt_holder(self) -> bool:
        """Adopt the version on the server; return whether a group event is there."""
        holder = await self._show()
        if holder is None or holder.lock_id[_HALF:] != _GROUP:
            return False
        self._adopt(holder)
        return True

    def _adopt(self, result: LockResult) -> None:
        self.version = int.from_bytes(result.lock_id[:_HALF], "little")

    def _id(self, second_half: bytes) -> bytes:
        return self.version.to_bytes(_HALF, "little") + second_half
