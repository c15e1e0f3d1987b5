"""Clients, subscriptions and streams of changes, for asyncio tasks."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from types import TracebackType
from typing import Generic, Self, TypeVar

import trio

from .. import client as native
from ..link import Changes as NativeChanges
from ..link import SetState
from ..primitives import Change, SubscriptionStatistics
from ..primitives import Subscription as NativeSubscription
from ._elsewhere import Elsewhere
from ._portal import Call, Portal, never

N = TypeVar("N")
F = TypeVar("F")


class Opening(AbstractAsyncContextManager[F, None], Generic[N, F]):
    """Keep a trio context manager open for the body of an ``async with`` of asyncio.

    Args:
        manager: The trio context manager.
        wrap: Makes what the body gets.
    """

    def __init__(
        self,
        manager: AbstractAsyncContextManager[N, bool],
        wrap: Callable[[Portal, N], F],
    ) -> None:
        self._wrap = wrap
        self._elsewhere = Elsewhere(manager, self._enter)
        self._entered: list[N] = []
        self._portal: Portal
        self._call: Call[None]

    def _enter(self, value: N) -> None:
        if isinstance(value, native.Client):
            value.write_by(self._portal.loop.call_soon)
        self._entered.append(value)
        self._call.wake()

    async def __aenter__(self) -> F:
        self._portal = await Portal.attach(self)
        try:
            self._call = self._portal.start(self._elsewhere.run)
            cancelled = await self._call.pause(lambda: bool(self._entered))
            if cancelled is not None:
                raise cancelled
            if self._call.ended:
                self._call.result()
            (value,) = self._entered
        except BaseException:
            await self._portal.detach(self)
            raise
        return self._wrap(self._portal, value)

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._elsewhere.leave()
        cancelled = await self._call.pause(never, cancels=False)
        try:
            self._call.result()
        finally:
            await self._portal.detach(self)
        if cancelled is not None:
            raise cancelled


class Items(Generic[N]):
    """The items of a trio iterator, for asyncio tasks.

    Args:
        portal: The way to trio.
        iterator: The iterator.
    """

    def __init__(self, portal: Portal, iterator: AsyncIterator[N]) -> None:
        self._portal = portal
        self._iterator = iterator
        self._kept: deque[N] = deque()

    async def next(self) -> N:
        """Return the next item.

        Raises:
            StopAsyncIteration: The iterator or the client has ended.

        Cancellation:
            No item is lost: one that has come at the same moment is the next one.
        """
        if self._kept:
            await asyncio.sleep(0)
            return self._kept.popleft()
        try:
            return await self._portal.call_or_undo(
                partial(anext, self._iterator), self._keep
            )
        except trio.ClosedResourceError:
            raise StopAsyncIteration from None

    async def _keep(self, item: N) -> None:
        self._kept.append(item)


class Changes:
    """An async iterator over the states of a replica set, the present one first.

    A slow reader gets the latest state, not each one between. It ends when the client
    is closed.
    """

    def __init__(self, portal: Portal, changes: NativeChanges) -> None:
        self._items = Items(portal, changes)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SetState:
        """Wait for the next state.

        Cancellation:
            No change is missed.
        """
        return await self._items.next()


class Subscription:
    """An async iterator over `Change`; made by `Database.subscribe`.

    At most ``buffer`` messages are kept for a slow reader; after that each new one
    takes the place of the oldest, and `statistics` counts those that were dropped.
    """

    def __init__(self, portal: Portal, subscription: NativeSubscription) -> None:
        self._items = Items(portal, subscription)
        self._subscription = subscription

    def __repr__(self) -> str:
        return f"<trioslock.aio: {self._subscription!r}>"

    @property
    def db(self) -> int:
        """The database whose messages are wanted."""
        return self._subscription.db

    @property
    def masks(self) -> tuple[bytes, ...]:
        """The key masks."""
        return self._subscription.masks

    def statistics(self) -> SubscriptionStatistics:
        """Return what it has received so far."""
        return self._subscription.statistics()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Change:
        """Wait for the next message and return it.

        Raises:
            StopAsyncIteration: The subscription has been left.
            SlockError: The server does not continue it, or the client has given up
                reconnecting.

        Cancellation:
            No message is missed.
        """
        return await self._items.next()
