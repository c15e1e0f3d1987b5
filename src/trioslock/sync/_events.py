"""The primitives that hand out no grants, in blocking code."""

from __future__ import annotations

from functools import partial

from .. import primitives
from ..protocol import Data, DataLike
from ..protocol import Value as PlainValue
from ._grant import Handle


class Event(Handle[primitives.Event]):
    """An event that any number of threads wait for; see `trioslock.Event`."""

    @property
    def default(self) -> primitives.Default:
        """The state of an event that no client has set or cleared."""
        return self._handle.default

    def set(
        self, data: DataLike | None = None, *, timeout: float | None = None
    ) -> None:
        """Set the event; see `trioslock.Event.set`."""
        self.call(partial(self._handle.set, data), timeout)

    def clear(
        self, data: DataLike | None = None, *, timeout: float | None = None
    ) -> None:
        """Clear the event; see `trioslock.Event.clear`."""
        self.call(partial(self._handle.clear, data), timeout)

    def is_set(self, *, timeout: float | None = None) -> bool:
        """Return whether it is set; see `trioslock.Event.is_set`."""
        return self.call(self._handle.is_set, timeout)

    def wait(self, *, timeout: float | None = None) -> Data | None:
        """Wait until it is set; see `trioslock.Event.wait`."""
        return self.call(self._handle.wait, timeout)

    def wait_and_reset(self, *, timeout: float | None = None) -> Data | None:
        """Wait until it is set, then clear it; see `trioslock.Event.wait_and_reset`."""
        return self.call(self._handle.wait_and_reset, timeout)


class GroupEvent(Handle[primitives.GroupEvent]):
    """An event with a version; see `trioslock.GroupEvent`."""

    @property
    def version(self) -> int:
        """The latest version that this handle has seen."""
        return self._handle.version

    @property
    def member(self) -> int | None:
        """The number of the member."""
        return self._handle.member

    def clear(
        self, data: DataLike | None = None, *, timeout: float | None = None
    ) -> None:
        """Clear the group; see `trioslock.GroupEvent.clear`."""
        self.call(partial(self._handle.clear, data), timeout)

    def set(
        self, data: DataLike | None = None, *, timeout: float | None = None
    ) -> None:
        """Set the group; see `trioslock.GroupEvent.set`."""
        self.call(partial(self._handle.set, data), timeout)

    def wakeup(
        self, data: DataLike | None = None, *, timeout: float | None = None
    ) -> int:
        """Wake all members; see `trioslock.GroupEvent.wakeup`."""
        return self.call(partial(self._handle.wakeup, data), timeout)

    def wait(self, *, timeout: float | None = None) -> Data | None:
        """Wait until it is set or woken; see `trioslock.GroupEvent.wait`."""
        return self.call(self._handle.wait, timeout)

    def wait_and_reset(self, *, timeout: float | None = None) -> Data | None:
        """Wait, then clear it; see `trioslock.GroupEvent.wait_and_reset`."""
        return self.call(self._handle.wait_and_reset, timeout)

    def is_set(self, *, timeout: float | None = None) -> bool:
        """Return whether it is set; see `trioslock.GroupEvent.is_set`."""
        return self.call(self._handle.is_set, timeout)


class TokenBucket(Handle[primitives.TokenBucket]):
    """A limit of how often something may happen; see `trioslock.TokenBucket`."""

    @property
    def tokens(self) -> int:
        """How many may be taken in each period."""
        return self._handle.tokens

    @property
    def per(self) -> float:
        """Seconds of the period."""
        return self._handle.per

    @property
    def sliding(self) -> bool:
        """Whether each token comes back a whole period after it was taken."""
        return self._handle.sliding

    def acquire(self, *, timeout: float | None = None) -> None:
        """Wait for a token and take it; see `trioslock.TokenBucket.acquire`."""
        self.call(self._handle.acquire, timeout)

    def try_acquire(self, *, timeout: float | None = None) -> None:
        """Take a token if there is one; see `trioslock.TokenBucket.try_acquire`."""
        self.call(self._handle.try_acquire, timeout)

    def in_use(self, *, timeout: float | None = None) -> int:
        """Return how many are taken; see `trioslock.TokenBucket.in_use`."""
        return self.call(self._handle.in_use, timeout)


class Value(Handle[primitives.Value]):
    """A value on a key; see `trioslock.Value`."""

    @property
    def ttl(self) -> float:
        """Seconds that the value is kept after a change."""
        return self._handle.ttl

    def get(self, *, timeout: float | None = None) -> Data | None:
        """Return the value; see `trioslock.Value.get`."""
        return self.call(self._handle.get, timeout)

    def set(self, value: PlainValue, *, timeout: float | None = None) -> Data | None:
        """Replace the value; see `trioslock.Value.set`."""
        return self.call(partial(self._handle.set, value), timeout)

    def unset(self, *, timeout: float | None = None) -> Data | None:
        """Remove the value; see `trioslock.Value.unset`."""
        return self.call(self._handle.unset, timeout)

    def touch(self, *, timeout: float | None = None) -> bool:
        """Start the ttl again; see `trioslock.Value.touch`."""
        return self.call(self._handle.touch, timeout)

    def increment(self, by: int = 1, *, timeout: float | None = None) -> int:
        """Add to the value; see `trioslock.Value.increment`."""
        return self.call(partial(self._handle.increment, by), timeout)

    def append(self, value: bytes | str, *, timeout: float | None = None) -> int:
        """Add bytes at the end; see `trioslock.Value.append`."""
        return self.call(partial(self._handle.append, value), timeout)

    def shift(self, size: int, *, timeout: float | None = None) -> bytes:
        """Take bytes from the front; see `trioslock.Value.shift`."""
        return self.call(partial(self._handle.shift, size), timeout)

    def push(self, item: bytes | str, *, timeout: float | None = None) -> None:
        """Add an item to the array; see `trioslock.Value.push`."""
        self.call(partial(self._handle.push, item), timeout)

    def pop(self, count: int = 1, *, timeout: float | None = None) -> tuple[bytes, ...]:
        """Take the first items; see `trioslock.Value.pop`."""
        return self.call(partial(self._handle.pop, count), timeout)

    def pipeline(self, *operations: Data, timeout: float | None = None) -> Data | None:
        """Send several operations in one command; see `trioslock.Value.pipeline`."""
        return self.call(partial(self._handle.pipeline, *operations), timeout)
