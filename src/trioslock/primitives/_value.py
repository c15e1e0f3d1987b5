"""A value on a key: stored with a lock, as the server's text protocol does it.

The key is held under its own bytes as lock id, so every client may change it; the
value is there as long as the key is held. ``SET`` and ``GET`` of the text protocol
store and read the same value, and it shares its key with locks.

Each change is one command, which the server does in one step. Each answer carries the
value before the change; results are computed from it.
"""

from __future__ import annotations

from dataclasses import replace

from .._arguments import check_type
from .._errors import LocalProtocolError
from ..protocol import (
    Data,
    DataFlag,
    LockFlag,
    LockResult,
    PropertyCode,
    ResultCode,
    WireDuration,
)
from ..protocol import Value as PlainValue
from ._handle import Handle, decoded
from ._lease import SessionLease
from ._options import HandleOptions
from ._results import refusal

_UPDATE = int(LockFlag.UPDATE)
_DONE = (ResultCode.SUCCED, ResultCode.LOCKED_ERROR)
_GONE = (ResultCode.SUCCED, ResultCode.UNLOCK_ERROR, ResultCode.UNKNOWN_DB)
_INT64_RANGE = 1 << 64
_INT64_LIMIT = 1 << 63


class Value(Handle):
    """A handle on a key's value; it keeps no state and may be shared.

    Values are text or bytes, 64-bit numbers, arrays or maps; `Data` reads them.
    ``ttl`` starts again with each change. A value whose ttl has just ended may
    come back with the next ``increment``, ``append`` or ``push``: the server
    forgets it some seconds later.

    Args:
        options: The key, and how to ask for it. The lease is the time that the value
            is kept after a change, rounded up to whole ones; ``FOREVER`` for as long
            as the server keeps its log. The flags are those of each change.
        name: Name to store beside the value; the text protocol's ``KEYS`` and
            ``SCAN`` list it.
    """

    def __init__(
        self, options: HandleOptions, *, name: bytes | str | None = None
    ) -> None:
        super().__init__(options)
        if isinstance(options.lease, SessionLease):
            raise TypeError("a value lasts some seconds or FOREVER, not SESSION")
        if name is not None:
            check_type(name, (str, bytes), "name", "text or bytes")
        self.ttl: float = options.lease
        self._lease = options.wire_lease(whole_seconds=True)
        self._wait = WireDuration(0, options.flags.wait_bits)
        self._name = name.encode() if isinstance(name, str) else name

    def _state(self) -> str:
        return f", ttl {self.ttl:g} s"

    async def get(self) -> Data | None:
        """Return the value, None if there is none.

        A value that a lock's holder has stored on its key is returned as well.

        Raises:
            ConnectionLost: The client does not reconnect.
            trio.ClosedResourceError: The client is closed.

        Cancellation:
            Nothing has changed.
        """
        result = await self._show()
        return None if result is None else decoded(result.data)

    async def set(self, value: PlainValue) -> Data | None:
        """Replace the value.

        Args:
            value: Bytes or text, an integer of 64 bits, a sequence of bytes or
                text (an array), or a mapping of them (a map).

        Returns:
            The value before, None if there was none.

        Raises:
            LockError: A lock holds the key.
            LocalProtocolError: The value cannot be carried.
            ConnectionLost: The client does not reconnect.
            trio.ClosedResourceError: The client is closed.

        Cancellation:
            It may have been replaced. It is sent again after a lost connection.
        """
        return decoded(await self._change(Data.set(value), replay=True))

    async def unset(self) -> Data | None:
        """Remove the value and let go of the key.

        Returns:
            The value before, None if there was none.

        Raises:
            LockError: A lock holds the key.
            ConnectionLost: The client does not reconnect.
            trio.ClosedResourceError: The client is closed.

        Cancellation:
            It may have been removed. It is sent again after a lost connection.
        """
        command = self._unlock(lock_id=self.key, data=Data.unset())
        result = await self._requester.request(command, replay=True)
        if result.result not in _GONE:
            raise refusal(result)
        return decoded(result.data) if result.result == ResultCode.SUCCED else None

    async def touch(self) -> bool:
        """Start the ttl again; return whether there was a value to keep.

        Raises:
            LockError: A lock holds the key.
            ConnectionLost: The client does not reconnect.
            trio.ClosedResourceError: The client is closed.

        Cancellation:
            It may have been done.
        """
        # Held back until its answer, since a key that it has taken must be released.
        result = await self._send(None, replay=True, linger=True)
        if result.result == ResultCode.SUCCED:
            # The key was free, and is held without a value now.
            await self.unset()
            return False
        return True

    async def increment(self, by: int = 1) -> int:
        """Add to the value, a 64-bit number that wraps around; 0 if it is none.

        Returns:
            The value after.

        Raises:
            LockError: A lock holds the key.
            LocalProtocolError: ``by`` does not fit in 64 bits.
            ConnectionLost: The connection broke; it may have been done.
            trio.ClosedResourceError: The client is closed.

        Cancellation:
            It may have been done.
        """
        # The server adds to what is there in the same step, so this is its result.
        before = decoded(await self._change(Data.increment(by)))
        total = by + (0 if before is None else before.number)
        return (total + _INT64_LIMIT) % _INT64_RANGE - _INT64_LIMIT

    async def append(self, value: bytes | str) -> int:
        """Add bytes at the end of the value.

        Do not use it on arrays, maps and numbers: the server does not look at
        the type and leaves a malformed value.

        Returns:
            The length after, in bytes.

        Raises:
            LockError: A lock holds the key.
            ConnectionLost: The connection broke; it may have been done.
            trio.ClosedResourceError: The client is closed.

        Cancellation:
            It may have been done.
        """
        operation = Data.append(value)
        before = decoded(await self._change(operation))
        return len(operation.raw) + (0 if before is None else len(before.raw))

    async def shift(self, size: int) -> bytes:
        """Take bytes from the front of the value.

        The real server's process ends if more is taken than there is; so the length
        is read first. Do not shift one value from two places at a time.

        Args:
            size: How many bytes, at least 0; no more are taken than there are.

        Returns:
            The bytes that were taken.

        Raises:
            LockError: A lock holds the key.
            LocalProtocolError: ``size`` is not a count of 32 bits.
            ConnectionLost: The connection broke; it may have been done.
            trio.ClosedResourceError: The client is closed.

        Cancellation:
            It may have been done.
        """
        operation = Data.shift(size)
        present = await self.get()
        if present is None or not present.raw:
            return b""
        if size > len(present.raw):
            size = len(present.raw)
            operation = Data.shift(size)
        before = decoded(await self._change(operation))
        return b"" if before is None else before.raw[:size]

    async def push(self, item: bytes | str) -> None:
        """Add one item at the end of the array; any other value is replaced.

        Raises:
            LockError: A lock holds the key.
            ConnectionLost: The connection broke; it may have been done.
            trio.ClosedResourceError: The client is closed.

        Cancellation:
            It may have been done.
        """
        await self._change(Data.push(item))

    async def pop(self, count: int = 1) -> tuple[bytes, ...]:
        """Take the first items of the array.

        Returns:
            The items that were taken, at most ``count``; none if it is no array.

        Raises:
            LockError: A lock holds the key.
            LocalProtocolError: ``count`` is not a count of 32 bits.
            ConnectionLost: The connection broke; they may have been taken.
            trio.ClosedResourceError: The client is closed.

        Cancellation:
            They may have been taken; they are lost then.
        """
        before = decoded(await self._change(Data.pop(count)))
        if before is None or not before.flag & DataFlag.ARRAY:
            return ()
        return before.array[:count]

    async def pipeline(self, *operations: Data) -> Data | None:
        """Send several operations in one command.

        On the server each plain operation starts from the value before all of them,
        so the last decides; those made by ``Data.execute`` all run.

        Returns:
            The value before, None if there was none.

        Raises:
            LockError: A lock holds the key.
            LocalProtocolError: There is none, or they are too large together.
            ConnectionLost: The connection broke; it may have been done.
            trio.ClosedResourceError: The client is closed.

        Cancellation:
            It may have been done.
        """
        if not operations:
            raise LocalProtocolError("a pipeline must have at least one operation")
        return decoded(await self._change(Data.pipeline(*operations)))

    async def _change(self, operation: Data, *, replay: bool = False) -> bytes | None:
        if self._name is not None:
            named = ((int(PropertyCode.KEY), self._name),)
            operation = replace(operation, properties=named)
        result = await self._send(operation, replay=replay)
        return result.data

    async def _send(
        self, operation: Data | None, *, replay: bool, linger: bool = False
    ) -> LockResult:
        command = self._lock(
            lock_id=self.key,
            flag=_UPDATE,
            wait=self._wait,
            lease=self._lease,
            data=operation,
        )
        result = await self._requester.request(command, replay=replay, linger=linger)
        if result.result not in _DONE:
            raise refusal(result)
        return result
