"""The primitives, as ``.ci/write_facades.py`` has written them."""

from __future__ import annotations

from .. import primitives as native
from ..primitives import Default
from ..protocol import Data, DataLike
from ..protocol import Value as PlainValue
from ._base import Acquirable
from ._plain import Handle
from ._portal import Portal


class ExclusiveHandle(Acquirable):
    """A handle on a key that one holder at a time has."""

    def __init__(self, portal: Portal, handle: native.ExclusiveHandle) -> None:
        super().__init__(portal, handle)
        self._exclusive_handle = handle

    async def locked(self) -> bool:
        """Return whether the key is held, by any client.

        Raises:
            ConnectionLost: The client does not reconnect.
            ClosedResourceError: The client is closed.

        Cancellation:
            Nothing is left on the server.
        """
        return await self._portal.call(self._exclusive_handle.locked)


class Lock(ExclusiveHandle):
    """A handle on a key that one holder at a time has.

    It keeps no state and may be shared: each acquisition has a grant of its own.
    """


class RLock(ExclusiveHandle):
    """A handle on a key that the task which holds it may take again."""

    def __init__(self, portal: Portal, handle: native.RLock) -> None:
        super().__init__(portal, handle)
        self._rlock = handle

    def levels(self) -> int:
        """Return how many levels the calling task has."""
        return self._portal.ask(self._rlock.levels)


class ReadSide(Acquirable):
    """The shared side of an `RWLock`: any number of readers hold it at once."""


class WriteSide(Acquirable):
    """The exclusive side of an `RWLock`: one writer, and no reader."""


class RWLock(Handle):
    """A handle on a key that many readers or one writer hold.

    It keeps no state and may be shared. Use ``async with rwlock.read():`` and
    ``async with rwlock.write():``; both sides have all methods of a `Lock` but
    ``locked``. A task that reads and wants to write must release first: waiting for
    the write side while holding the read side waits for itself.
    """

    def __init__(self, portal: Portal, handle: native.RWLock) -> None:
        super().__init__(portal, handle)
        self._rwlock = handle

    def read(self) -> ReadSide:
        """Return the shared side."""
        return ReadSide(self._portal, self._rwlock.read())

    def write(self) -> WriteSide:
        """Return the exclusive side."""
        return WriteSide(self._portal, self._rwlock.write())


class CountedHandle(Handle):
    """A handle on a key that several holders have at once."""

    def __init__(self, portal: Portal, handle: native.CountedHandle) -> None:
        super().__init__(portal, handle)
        self._counted_handle = handle

    async def in_use(self) -> int:
        """Return how many are held now, by all clients together.

        A token that was taken from a bucket is held until it comes back.

        Raises:
            ConnectionLost: The client does not reconnect.
            ClosedResourceError: The client is closed.

        Cancellation:
            Nothing is left on the server.
        """
        return await self._portal.call(self._counted_handle.in_use)


class Semaphore(CountedHandle, Acquirable):
    """A handle on a key that up to ``permits`` holders have at once.

    It keeps no state and may be shared. All clients that use the key must agree on
    the number: the server grants a permit if both the first holder's number and the
    request's own allow it.
    """

    def __init__(self, portal: Portal, handle: native.Semaphore) -> None:
        super().__init__(portal, handle)
        self._semaphore = handle

    @property
    def permits(self) -> int:
        """How many there are; all clients of the key must agree on it."""
        return self._semaphore.permits

    async def available(self) -> int:
        """Return how many permits are free now.

        Raises:
            ConnectionLost: The client does not reconnect.
            ClosedResourceError: The client is closed.

        Cancellation:
            Nothing is left on the server.
        """
        return await self._portal.call(self._semaphore.available)

    async def release(self) -> None:
        """Release the permit that was granted first, whichever client holds it.

        The Semaphore of other slock clients calls this a release. To release one's
        own permit, release its grant instead.

        Raises:
            NotHeld: No permit is held.
            ConnectionLost: The connection broke; the outcome is unknown. It is
                not sent again, since that could release another permit.
            ClosedResourceError: The client is closed.

        Cancellation:
            It may have been done.
        """
        await self._portal.call(self._semaphore.release)


class ConcurrencyLimiter(CountedHandle, Acquirable):
    """A handle on a key that up to ``limit`` holders have at once."""

    def __init__(self, portal: Portal, handle: native.ConcurrencyLimiter) -> None:
        super().__init__(portal, handle)
        self._concurrency_limiter = handle

    @property
    def limit(self) -> int:
        """How many hold it at once; all clients of the key must agree on it."""
        return self._concurrency_limiter.limit


class TokenBucket(CountedHandle):
    """A handle on a key from which ``tokens`` may be taken in each period.

    It keeps no state and may be shared.
    """

    def __init__(self, portal: Portal, handle: native.TokenBucket) -> None:
        super().__init__(portal, handle)
        self._token_bucket = handle

    @property
    def tokens(self) -> int:
        """How many come in each period; all clients of the key must agree on it."""
        return self._token_bucket.tokens

    @property
    def per(self) -> float:
        """Seconds of the period."""
        return self._token_bucket.per

    @property
    def sliding(self) -> bool:
        """Whether each token has a period of its own."""
        return self._token_bucket.sliding

    async def acquire(self) -> None:
        """Wait for a token and take it.

        Raises:
            ConnectionLost: The client does not reconnect.
            ClosedResourceError: The client is closed.

        Cancellation:
            No token is taken; one that was granted at the same moment is released.
            Once it has returned, the token is spent, and comes back only at the end
            of its period. After a lost connection a token may be spent without use.
        """
        await self._portal.call(self._token_bucket.acquire)

    async def try_acquire(self) -> None:
        """Take a token if there is one now.

        Raises:
            WouldBlock: There is none, or others wait for one.
            ConnectionLost: The client does not reconnect.
            ClosedResourceError: The client is closed.

        Cancellation:
            As for `acquire`.
        """
        await self._portal.call(self._token_bucket.try_acquire)


class Event(Handle):
    """A handle on an event; it keeps no state and may be shared."""

    def __init__(self, portal: Portal, handle: native.Event) -> None:
        super().__init__(portal, handle)
        self._event = handle

    @property
    def default(self) -> Default:
        """The state of an event that was never changed."""
        return self._event.default

    async def set(self, data: DataLike | None = None) -> None:
        """Set the event and wake all that wait for it.

        Args:
            data: The value to set, or another operation, such as ``Data.push("text")``.
                Waiters get the value. With ``default="set"`` it is applied only
                if the event is clear, and reaches only waits that have begun:
                the server forgets the value of a key without a holder.

        Raises:
            LockError: A lock that is not this event holds the key.
            ConnectionLost: The client does not reconnect.
            ClosedResourceError: The client is closed.

        Cancellation:
            The event may have been set. It is sent again after a lost
            connection, which sets an event that was cleared in between.
        """
        await self._portal.call(self._event.set, data)

    async def clear(self, data: DataLike | None = None) -> None:
        """Clear the event: a wait that begins from now on lasts until it is set.

        Args:
            data: The value to set, or another operation, such as ``Data.unset()``.

        Raises:
            LockError: A lock that is not this event holds the key.
            ConnectionLost: The client does not reconnect.
            ClosedResourceError: The client is closed.

        Cancellation:
            The event may have been cleared.
        """
        await self._portal.call(self._event.clear, data)

    async def is_set(self) -> bool:
        """Return whether the event is set.

        Raises:
            ConnectionLost: The client does not reconnect.
            ClosedResourceError: The client is closed.

        Cancellation:
            Nothing is left on the server.
        """
        return await self._portal.call(self._event.is_set)

    async def wait(self) -> Data | None:
        """Wait until the event is set; return at once if it is.

        Returns:
            The key's value at that moment, None if it has none.

        Raises:
            LockError: The server ended the wait (its database was flushed).
            ConnectionLost: The client does not reconnect.
            ClosedResourceError: The client is closed.

        Cancellation:
            The wait is withdrawn on the server; nothing waits there. After a
            lost connection it is sent again: an event that was set and
            cleared again meanwhile is missed.
        """
        return await self._portal.call(self._event.wait)

    async def wait_and_reset(self) -> Data | None:
        """Wait until the event is set, then clear it and remove its value.

        Several tasks that wait in this way all wake, and each one clears: an event
        that is set again in between may be cleared by the second. Let one task at a
        time reset an event.

        Returns:
            The key's value when the event was set, None if it had none.

        Raises:
            LockError: The server ended the wait (its database was flushed).
            ConnectionLost: The client does not reconnect.
            ClosedResourceError: The client is closed.

        Cancellation:
            While waiting as for `wait`. Once the event was set the cancellation
            is held back until it is cleared, for at most the client's grace.
        """
        return await self._portal.call(self._event.wait_and_reset)


class GroupEvent(Handle):
    """A handle on a group event, and the version that its user knows.

    Make one for each member: `wait` changes `version`. Handles of different members
    share nothing but the key, in one process or in several.
    """

    def __init__(self, portal: Portal, handle: native.GroupEvent) -> None:
        super().__init__(portal, handle)
        self._group_event = handle

    @property
    def member(self) -> int | None:
        """The number of the member, or None."""
        return self._group_event.member

    @property
    def version(self) -> int:
        """The latest version that this handle has seen."""
        return self._group_event.version

    async def clear(self, data: DataLike | None = None) -> None:
        """Clear the group: a member that knows its version waits from now on.

        A group that is clear under another version keeps that version, and this
        handle adopts it.

        Args:
            data: The value to set, or another operation, such as ``Data.unset()``.

        Raises:
            LockError: A lock that is no group event holds the key.
            ConnectionLost: The client does not reconnect.
            ClosedResourceError: The client is closed.

        Cancellation:
            The group may have been cleared.
        """
        await self._portal.call(self._group_event.clear, data)

    async def set(self, data: DataLike | None = None) -> None:
        """Set the group: wake all members that wait, whatever version they know.

        Args:
            data: The value to set, or another operation. Applied only if the group
                is clear.

        Raises:
            ConnectionLost: The client does not reconnect.
            ClosedResourceError: The client is closed.

        Cancellation:
            The group may have been set.
        """
        await self._portal.call(self._group_event.set, data)

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
            ClosedResourceError: The client is closed.

        Cancellation:
            The members may have been woken.
        """
        return await self._portal.call(self._group_event.wakeup, data)

    async def wait(self) -> Data | None:
        """Wait until the group is set or woken; adopt the version it has then.

        Returns at once if the group is set, or if its version is not the one
        that this handle knows. A member that was woken from its wait learns the
        new version with its next wait, which returns at once as well: look at
        what the wake-up was about before waiting again, and look again after it.

        Returns:
            The key's value at that moment, None if it has none.

        Raises:
            BusyResourceError: Another task waits as the same member.
            LockError: The server ended the wait (its database was flushed).
            ConnectionLost: The client does not reconnect.
            ClosedResourceError: The client is closed.

        Cancellation:
            The wait is withdrawn on the server; nothing waits there. The version
            stays as it is, so the next wait returns at once if a wake-up was missed.
        """
        return await self._portal.call(self._group_event.wait)

    async def wait_and_reset(self) -> Data | None:
        """Wait until the group is set or woken, then clear it if it is set.

        Returns:
            The key's value when the wait ended, None if it had none.

        Raises:
            BusyResourceError: Another task waits as the same member.
            LockError: The server ended the wait, or a lock that is no group
                event holds the key.
            ConnectionLost: The client does not reconnect.
            ClosedResourceError: The client is closed.

        Cancellation:
            While waiting as for `wait`. After it the group may have been
            cleared.
        """
        return await self._portal.call(self._group_event.wait_and_reset)

    async def is_set(self) -> bool:
        """Return whether the group is set.

        Raises:
            ConnectionLost: The client does not reconnect.
            ClosedResourceError: The client is closed.

        Cancellation:
            Nothing is left on the server.
        """
        return await self._portal.call(self._group_event.is_set)


class TreeLeaf(Acquirable):
    """A handle on what can be held in one node of a tree; made by `TreeLock.leaf`."""


class TreeLock(Acquirable):
    """A handle on a node of a tree of keys.

    It keeps no state and may be shared. Taking the node itself waits until
    nothing is held in it or below, then takes a leaf in it. These are two steps, so
    two tasks that take the same node at the same moment may both get it. Use a `Lock`
    beside the tree where that matters.
    """

    def __init__(self, portal: Portal, handle: native.TreeLock) -> None:
        super().__init__(portal, handle)
        self._tree_lock = handle

    def child(self, key: str | bytes) -> TreeLock:
        """Return a node below this one.

        Args:
            key: Its name. A key has one parent: use it below one node.
        """
        return TreeLock(self._portal, self._tree_lock.child(key))

    def leaf(self) -> TreeLeaf:
        """Return a handle on the leaves of this node; any number may be held."""
        return TreeLeaf(self._portal, self._tree_lock.leaf())

    async def wait_free(self) -> None:
        """Wait until nothing is held in this node or below.

        Raises:
            ConnectionLost: The client does not reconnect.
            ClosedResourceError: The client is closed.

        Cancellation:
            The wait is withdrawn on the server; nothing waits there.
        """
        await self._portal.call(self._tree_lock.wait_free)


class Value(Handle):
    """A handle on a key's value; it keeps no state and may be shared.

    Values are text or bytes, 64-bit numbers, arrays or maps; `Data` reads them.
    ``ttl`` starts again with each change. A value whose ttl has just ended may
    come back with the next ``increment``, ``append`` or ``push``: the server
    forgets it some seconds later.
    """

    def __init__(self, portal: Portal, handle: native.Value) -> None:
        super().__init__(portal, handle)
        self._value = handle

    async def get(self) -> Data | None:
        """Return the value, None if there is none.

        A value that a lock's holder has stored on its key is returned as well.

        Raises:
            ConnectionLost: The client does not reconnect.
            ClosedResourceError: The client is closed.

        Cancellation:
            Nothing has changed.
        """
        return await self._portal.call(self._value.get)

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
            ClosedResourceError: The client is closed.

        Cancellation:
            It may have been replaced. It is sent again after a lost connection.
        """
        return await self._portal.call(self._value.set, value)

    async def unset(self) -> Data | None:
        """Remove the value and let go of the key.

        Returns:
            The value before, None if there was none.

        Raises:
            LockError: A lock holds the key.
            ConnectionLost: The client does not reconnect.
            ClosedResourceError: The client is closed.

        Cancellation:
            It may have been removed. It is sent again after a lost connection.
        """
        return await self._portal.call(self._value.unset)

    async def touch(self) -> bool:
        """Start the ttl again; return whether there was a value to keep.

        Raises:
            LockError: A lock holds the key.
            ConnectionLost: The client does not reconnect.
            ClosedResourceError: The client is closed.

        Cancellation:
            It may have been done.
        """
        return await self._portal.call(self._value.touch)

    async def increment(self, by: int = 1) -> int:
        """Add to the value, a 64-bit number that wraps around; 0 if it is none.

        Returns:
            The value after.

        Raises:
            LockError: A lock holds the key.
            LocalProtocolError: ``by`` does not fit in 64 bits.
            ConnectionLost: The connection broke; it may have been done.
            ClosedResourceError: The client is closed.

        Cancellation:
            It may have been done.
        """
        return await self._portal.call(self._value.increment, by)

    async def append(self, value: bytes | str) -> int:
        """Add bytes at the end of the value.

        Do not use it on arrays, maps and numbers: the server does not look at
        the type and leaves a malformed value.

        Returns:
            The length after, in bytes.

        Raises:
            LockError: A lock holds the key.
            ConnectionLost: The connection broke; it may have been done.
            ClosedResourceError: The client is closed.

        Cancellation:
            It may have been done.
        """
        return await self._portal.call(self._value.append, value)

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
            ClosedResourceError: The client is closed.

        Cancellation:
            It may have been done.
        """
        return await self._portal.call(self._value.shift, size)

    async def push(self, item: bytes | str) -> None:
        """Add one item at the end of the array; any other value is replaced.

        Raises:
            LockError: A lock holds the key.
            ConnectionLost: The connection broke; it may have been done.
            ClosedResourceError: The client is closed.

        Cancellation:
            It may have been done.
        """
        await self._portal.call(self._value.push, item)

    async def pop(self, count: int = 1) -> tuple[bytes, ...]:
        """Take the first items of the array.

        Returns:
            The items that were taken, at most ``count``; none if it is no array.

        Raises:
            LockError: A lock holds the key.
            LocalProtocolError: ``count`` is not a count of 32 bits.
            ConnectionLost: The connection broke; they may have been taken.
            ClosedResourceError: The client is closed.

        Cancellation:
            They may have been taken; they are lost then.
        """
        return await self._portal.call(self._value.pop, count)

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
            ClosedResourceError: The client is closed.

        Cancellation:
            It may have been done.
        """
        return await self._portal.call(self._value.pipeline, *operations)
