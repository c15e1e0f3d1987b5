"""Run a subscription and its session around the body of an ``async with``."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from types import TracebackType

import trio
from trio.lowlevel import enable_ki_protection

from .._errors import SlockError
from ..link import ClientSession
from ..primitives import Subscription
from ._service import Service


class OpenSubscription(AbstractAsyncContextManager[Subscription, bool]):
    """Connect and subscribe for the body of an ``async with``.

    Args:
        session: The session that the subscription alone uses.
        subscription: Made over that session.
    """

    def __init__(self, session: ClientSession, subscription: Subscription) -> None:
        self._session = session
        self._subscription = subscription
        self._service = Service(
            session.run, self._finish, grace=session.settings.close_grace
        )

    @enable_ki_protection
    async def __aenter__(self) -> Subscription:
        await self._service.start(self._begin)
        return self._subscription

    @enable_ki_protection
    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        return await self._service.stop(exc_type, exc, traceback)

    async def _begin(self) -> None:
        await self._session.wait_attempted()
        await self._subscription.subscribe()

    async def _finish(self) -> None:
        if not self._session.statistics().connected:
            await trio.lowlevel.checkpoint()
            return
        try:
            await self._subscription.unsubscribe()
        except (SlockError, trio.ClosedResourceError):
            # The server closes the connection when the last mask is removed. If
            # that did not arrive, it ends the subscription by itself.
            return
