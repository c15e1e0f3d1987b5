"""Iterators over what happens, in blocking code."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Generic, Self, TypeVar

from .. import primitives
from ..link import Changes as TrioChanges
from ..link import SetState
from ..primitives import Change, SubscriptionStatistics
from ._background import Background
from ._grant import Blocking

T = TypeVar("T")

_Item = tuple[T] | None


class Waiting(Blocking, Generic[T]):
    """An iterator; `next` waits for its next item as long as it is told."""

    def __init__(
        self, background: Background, take: Callable[[], Awaitable[T]]
    ) -> None:
        super().__init__(background)
        self._next = take

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        return self.next()

    def next(self, *, timeout: float | None = None) -> T:
        """Wait for the next item.

        Args:
            timeout: Seconds that it may take; None for any time.

        Raises:
            StopIteration: There will be none.
            TimeoutError: It took longer; the next call misses nothing.
        """
        item = self.call(self._take, timeout)
        if item is None:
            raise StopIteration
        return item[0]

    async def _take(self) -> _Item[T]:
        # In a tuple: no coroutine may raise StopIteration.
        try:
            return (await self._next(),)
        except StopAsyncIteration:
            return None


class Changes(Waiting[SetState]):
    """An iterator over the states of a replica set; see `trioslock.Changes`."""

    def __init__(self, background: Background, changes: TrioChanges) -> None:
        super().__init__(background, changes.__anext__)


class Subscription(Waiting[Change]):
    """An iterator over `trioslock.Change`; see `trioslock.Subscription`."""

    def __init__(
        self, background: Background, subscription: primitives.Subscription
    ) -> None:
        super().__init__(background, subscription.__anext__)
        self._subscription = subscription

    def __repr__(self) -> str:
        return repr(self._subscription)

    @property
    def db(self) -> int:
        """The number of the database."""
        return self._subscription.db

    @property
    def masks(self) -> tuple[bytes, ...]:
        """The key masks."""
        return self._subscription.masks

    def statistics(self) -> SubscriptionStatistics:
        """Return what it has received so far."""
        return self._subscription.statistics()
