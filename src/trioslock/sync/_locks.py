"""The primitives that hand out grants, in blocking code."""

from __future__ import annotations

from .. import primitives
from ._grant import Acquirable, ExclusiveHandle, Handle


class Lock(ExclusiveHandle[primitives.Lock]):
    """A handle on a key that one holder at a time has; see `trioslock.Lock`."""


class RLock(ExclusiveHandle[primitives.RLock]):
    """A lock that the *thread* which holds it may take again.

    As `trioslock.RLock`, whose levels belong to a task.
    """

    def levels(self, *, timeout: float | None = None) -> int:
        """Return how many levels the calling thread has."""

        async def levels() -> int:
            return self._handle.levels()

        return self.call(levels, timeout)


class ReadSide(Acquirable[primitives.ReadSide]):
    """The shared side of an `RWLock`: any number of readers hold it at once."""


class WriteSide(Acquirable[primitives.WriteSide]):
    """The exclusive side of an `RWLock`: one writer, and no reader."""


class RWLock(Handle[primitives.RWLock]):
    """A handle on a key that many readers or one writer hold.

    ``with rwlock.read():`` and ``with rwlock.write():``; see `trioslock.RWLock`.
    """

    def read(self) -> ReadSide:
        """Return the shared side."""
        return ReadSide(self._background, self._handle.read())

    def write(self) -> WriteSide:
        """Return the exclusive side."""
        return WriteSide(self._background, self._handle.write())


class Semaphore(Acquirable[primitives.Semaphore]):
    """A handle on a number of permits; see `trioslock.Semaphore`."""

    @property
    def permits(self) -> int:
        """How many there are."""
        return self._handle.permits

    def in_use(self, *, timeout: float | None = None) -> int:
        """Return how many are held now; see `trioslock.Semaphore.in_use`."""
        return self.call(self._handle.in_use, timeout)

    def available(self, *, timeout: float | None = None) -> int:
        """Return how many are free now; see `trioslock.Semaphore.available`."""
        return self.call(self._handle.available, timeout)

    def release(self, *, timeout: float | None = None) -> None:
        """Release the permit granted first; see `trioslock.Semaphore.release`."""
        self.call(self._handle.release, timeout)


class ConcurrencyLimiter(Acquirable[primitives.ConcurrencyLimiter]):
    """A limit of how many at once; see `trioslock.ConcurrencyLimiter`."""

    @property
    def limit(self) -> int:
        """How many may hold the key at once."""
        return self._handle.limit

    def in_use(self, *, timeout: float | None = None) -> int:
        """Return how many hold the key; see `trioslock.ConcurrencyLimiter.in_use`."""
        return self.call(self._handle.in_use, timeout)


class TreeLeaf(Acquirable[primitives.TreeLeaf]):
    """A handle on what can be held in one node of a tree; see `TreeLock.leaf`."""

    @property
    def node(self) -> TreeLock:
        """The node."""
        return TreeLock(self._background, self._handle.node)


class TreeLock(Acquirable[primitives.TreeLock]):
    """A handle on a node of a tree of keys; see `trioslock.TreeLock`."""

    @property
    def parent(self) -> TreeLock | None:
        """The node above, None for the root."""
        parent = self._handle.parent
        return None if parent is None else TreeLock(self._background, parent)

    def child(self, key: str | bytes) -> TreeLock:
        """Return a node below this one; see `trioslock.TreeLock.child`."""
        return TreeLock(self._background, self._handle.child(key))

    def leaf(self) -> TreeLeaf:
        """Return a handle on the leaves of this node; any number may be held."""
        return TreeLeaf(self._background, self._handle.leaf())

    def wait_free(self, *, timeout: float | None = None) -> None:
        """Wait until nothing is held here or below; `trioslock.TreeLock.wait_free`.

        Raises:
            TimeoutError: That took longer; nothing waits on the server.
        """
        self.call(self._handle.wait_free, timeout)
