"""Hold grants around a body that a loss of any of them cancels."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from types import TracebackType
from typing import Generic, Protocol, TypeVar

from trio.lowlevel import enable_ki_protection


class Enterable(AbstractAsyncContextManager[object, bool], Protocol):
    """A grant, of trio or of asyncio."""

    def enter(self) -> None:
        """Begin the body, which a loss cancels. It does not wait."""


T = TypeVar("T")
G = TypeVar("G", bound=Enterable)


class Holding(AbstractAsyncContextManager[T, bool], Generic[T, G]):
    """Take grants, and release them at the end of the body of an ``async with``.

    It waits for nothing but the grants, so it works in asyncio tasks as well.

    Args:
        take: Returns what the body gets, and the grants, which have not been entered.
            The last of them is released first.
    """

    def __init__(self, take: Callable[[], Awaitable[tuple[T, *tuple[G, ...]]]]) -> None:
        self.take = take
        self._held: AsyncExitStack | None = None

    @enable_ki_protection
    async def __aenter__(self) -> T:
        if self._held is not None:
            raise RuntimeError("this has been entered already: make another for it")
        self._held = AsyncExitStack()
        given, *grants = await self.take()
        # No checkpoint in between: no grant can get lost before its scope.
        for grant in grants:
            grant.enter()
            self._held.push_async_exit(grant)
        return given

    @enable_ki_protection
    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        assert self._held is not None
        return bool(await self._held.__aexit__(exc_type, exc, traceback))
