"""What the handles have in common: a native handle, and the portal to its trio run."""

from __future__ import annotations

import asyncio
from functools import partial
from types import TracebackType
from typing import Any

import trio

from .. import primitives as native
from ..primitives import raise_outcome, release_unusable
from ..protocol import DataLike
from . import _fast
from ._body import TaskBody
from ._plain import AcquirableMethods, GrantMethods
from ._portal import Portal


class Grant(GrantMethods):
    """One holding of a key, owned by the task that acquired it.

    As an async context manager it releases on exit, and its body is cancelled when the
    grant is lost, in the way of ``asyncio.timeout``; `LockLost` is then raised from the
    exit. A body that fails by itself keeps its error, with a note about the loss.

    While the body runs a lease of seconds is renewed, unless the handle says no; and in
    any case the body is cancelled before the lease can have ended.
    """

    def __init__(self, portal: Portal, handle: native.Grant) -> None:
        super().__init__(portal, handle)
        self._grant = handle
        self._body: TaskBody | None = None

    @property
    def held(self) -> bool:
        """Whether the grant has neither been released nor, as known here, lost."""
        return self._grant.held

    @property
    def expires_at(self) -> float:
        """Time on the loop's clock when the lease can end, ``math.inf`` for never."""
        return self._grant.expires_at - trio.current_time() + self._portal.loop.time()

    @property
    def levels(self) -> int:
        """How many levels the holder has now; 1 for what is no `RLock`."""
        grant = self._grant
        if isinstance(grant, native.LevelGrant):
            return grant.levels
        return int(grant.held)

    async def release(self, data: DataLike | None = None) -> None:
        """Release the key; do nothing if it is released or lost already.

        Args:
            data: Operation to apply to the key's value, or the value to set.

        Raises:
            NotHeld: The server says that the grant had ended before.
            ConnectionLost: There was no connection for ``session_ttl``.

        Cancellation:
            The key is released in any case.
        """
        grant = self._grant
        if data is None and grant.held and _fast.can_leave(grant):
            await grant.finish_release(_fast.leave(grant))
        else:
            await self._portal.call(grant.release, data)

    async def __aenter__(self) -> Grant:
        self.enter()
        return self

    def enter(self) -> None:
        """Begin the body, which a loss cancels. It does not wait."""
        body = TaskBody()
        self._grant.begin_body(body)
        self._body = body

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        grant, body = self._grant, self._body
        assert body is not None
        if body.task is not asyncio.current_task():
            await self._portal.call(release_unusable, grant)
            raise RuntimeError(
                f"{grant!r} was entered by the task {body.task.get_name()!r} and left "
                "by another one: its key has been released, but a body must end in the "
                "task that has begun it (contextlib.aclosing)"
            ) from exc
        interrupted: asyncio.CancelledError | None = None
        own = False
        try:
            if body.active:
                own = await body.end(exc)
        except asyncio.CancelledError as cancelled:
            interrupted = cancelled
        late = body.cancel_called
        release_error: BaseException | None
        if _fast.can_leave(grant) and not late:
            release_error = await grant.end_body(partial(_fast.leave, grant), late=late)
        else:
            release_error = await self._portal.call(grant.end_body_in_trio, late=late)
        error = None if own else interrupted if exc is None else exc
        if isinstance(release_error, asyncio.CancelledError):
            # It came while the answer to the release was awaited. It must not get lost.
            raise release_error
        if error is None and release_error is None:
            return False
        return raise_outcome(exc, error, release_error)


class Acquirable(AcquirableMethods):
    """A handle that hands out grants: acquire, try, ``async with``."""

    def __init__(self, portal: Portal, handle: native.Acquirable) -> None:
        super().__init__(portal, handle)
        self._acquirable = handle
        self._entered: dict[asyncio.Task[Any], list[Grant]] = {}

    async def acquire(self, *, data: DataLike | None = None) -> Grant:
        """Wait until the key is granted.

        Args:
            data: Operation to apply to the key's value at the grant, or the value to
                set.

        Returns:
            The grant, to be released by ``release`` or ``async with``.

        Raises:
            ConnectionLost: The client does not reconnect.
            NoLeader: The server cannot reach a leader.
            ClosedResourceError: The client is closed.

        Cancellation:
            The wait is withdrawn on the server; nothing is held or waits there. A
            grant that has arrived already is released.
        """
        if data is None and self._acquirable.begins():
            return Grant(
                self._portal, await _fast.acquire(self._acquirable, waits=True)
            )
        return Grant(
            self._portal, await self._portal.call(self._acquirable.acquire, data=data)
        )

    async def try_acquire(self, *, data: DataLike | None = None) -> Grant:
        """Take the key if it is free now.

        Args:
            data: Operation to apply to the key's value at the grant, or the value to
                set.

        Returns:
            The grant.

        Raises:
            WouldBlock: The key is held, or others wait for it.
            LockLost: The answer took as long as the lease; nothing is held.
            ConnectionLost: The client does not reconnect.
            NoLeader: The server cannot reach a leader.
            ClosedResourceError: The client is closed.

        Cancellation:
            As for `acquire`.
        """
        if data is None and self._acquirable.begins():
            return Grant(
                self._portal, await _fast.acquire(self._acquirable, waits=False)
            )
        return Grant(
            self._portal,
            await self._portal.call(self._acquirable.try_acquire, data=data),
        )

    async def __aenter__(self) -> Grant:
        handle = self._acquirable
        if handle.begins():
            grant = Grant(self._portal, await _fast.acquire(handle, waits=True))
        else:
            grant = await self.acquire()
        # No await between the grant and its body, so no cancellation.
        grant.enter()
        task = asyncio.current_task()
        assert task is not None
        if (grants := self._entered.get(task)) is None:
            self._entered[task] = [grant]
        else:
            grants.append(grant)
        return grant

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        task = asyncio.current_task()
        if task not in self._entered and len(self._entered) == 1:
            # An async generator that another task closes: `Grant` reports it.
            (task,) = self._entered
        if task not in self._entered:
            raise RuntimeError(f"{self!r} was not entered by the task that leaves it")
        grants = self._entered[task]
        grant = grants.pop()
        if not grants:
            del self._entered[task]
        return await grant.__aexit__(exc_type, exc, traceback)
