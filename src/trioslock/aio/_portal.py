"""The way from asyncio tasks to trio, which runs as a guest of their loop.

All clients of a loop share one guest run. It starts with the first client and ends with
the last one. Both loops share a thread: asyncio tasks start trio tasks and cancel them
by calling trio, and trio tasks wake asyncio tasks by ending a future.

A call is one trio task. The invariant of its cancellation: an asyncio task leaves a
call only after the trio task has ended. So what a cancelled trio task guarantees about
the server holds for the asyncio task as well.

Most acquisitions and releases need no trio task: see ``_fast``.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, ClassVar, Generic, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

import outcome
import trio

from ..primitives import Grant, reentrant_owner, release_unusable

P = ParamSpec("P")
T = TypeVar("T")

_NO_LOOP = (
    "trioslock.aio is for asyncio programs, and no asyncio loop runs in this thread: "
    "a trio program uses trioslock itself, blocking code trioslock.sync"
)
_OTHER_TRIO = (
    "trio runs in this thread already, so it cannot be a guest of this asyncio loop: "
    "use trioslock itself in its tasks, or open the client in another thread"
)


class Portal:
    """A guest run of trio on one asyncio loop; made by `attach`."""

    _portals: ClassVar[WeakKeyDictionary[asyncio.AbstractEventLoop, Portal]] = (
        WeakKeyDictionary()
    )

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._process = os.getpid()
        # Each with the task that has opened it.
        self._users: dict[object, asyncio.Task[Any] | None] = {}
        self._started = asyncio.Event()
        self._ended = asyncio.Event()
        self._stop: trio.Event | None = None
        self._calls: trio.Nursery | None = None
        self._keeper: asyncio.Task[None]

    def __repr__(self) -> str:
        return f"<trioslock.aio.Portal: {len(self._users)} clients>"

    @classmethod
    async def attach(cls, user: object) -> Portal:
        """Return the portal of the running loop, which runs until `detach`.

        Args:
            user: Who uses it.

        Raises:
            RuntimeError: No asyncio loop runs here, or trio runs in this thread.

        Cancellation:
            It is detached.
        """
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise RuntimeError(_NO_LOOP) from None
        portal = cls._portals.get(loop)
        while portal is not None and not portal._users:
            # The last client has just been closed.
            await portal._ended.wait()
            portal = cls._portals.get(loop)
        if portal is None:
            portal = cls(loop)
            portal._start()
            cls._portals[loop] = portal
        portal._users[user] = asyncio.current_task()
        try:
            await portal._started.wait()
        except BaseException:
            await portal.detach(user)
            raise
        return portal

    async def detach(self, user: object) -> None:
        """Leave the portal; the last one to leave waits until trio has ended.

        Cancellation:
            Held back until trio has ended.
        """
        self._release(user)
        if not self._users:
            await hold_back(self._ended.wait)

    def _release(self, user: object) -> None:
        self._users.pop(user, None)
        if not self._users and self._stop is not None:
            # Clients that are open all the same are closed by the end of the run.
            self._stop.set()

    def _start(self) -> None:
        try:
            trio.lowlevel.start_guest_run(
                self._main,
                run_sync_soon_threadsafe=self.loop.call_soon_threadsafe,
                run_sync_soon_not_threadsafe=self.loop.call_soon,
                done_callback=self._guest_ended,
                # asyncio and uvloop do, whenever they have a signal handler.
                host_uses_signal_set_wakeup_fd=True,
            )
        except RuntimeError as error:
            raise RuntimeError(_OTHER_TRIO) from error
        self._keeper = self.loop.create_task(self._keep(), name="trioslock.aio")

    async def _main(self) -> None:
        async with trio.open_nursery() as self._calls:
            self._stop = trio.Event()
            self._started.set()
            if not self._users:
                self._stop.set()
            while not self._stop.is_set():
                try:
                    await self._stop.wait()
                except KeyboardInterrupt:
                    # Under a loop without a handler of its own trio gets it. It belongs
                    # to what runs the loop; trio goes on, so that tasks can unwind.
                    self.loop.call_soon(_interrupt)
            self._calls.cancel_scope.cancel()

    def _guest_ended(self, result: outcome.Outcome[Any]) -> None:
        self._portals.pop(self.loop, None)
        self._calls = None
        self._started.set()
        self._ended.set()
        if isinstance(result, outcome.Error):
            # An internal error. The loop reports it, as that of any callback.
            raise result.error

    async def _keep(self) -> None:
        """Let trio end before the loop does.

        ``asyncio.run`` cancels all tasks at its end, this one too. Clients whose tasks
        are among them are closed by these; the others by this one.
        """
        while not self._ended.is_set():
            try:
                await self._ended.wait()
            except asyncio.CancelledError:
                for user, opener in tuple(self._users.items()):
                    if opener is None or opener.done():
                        self._release(user)

    # Calls.

    def start(self, function: Callable[[], Awaitable[T]]) -> Call[T]:
        """Start a trio task that works for the calling asyncio task.

        Raises:
            RuntimeError: The process was forked from that of the client.
            trio.ClosedResourceError: The client is closed.
        """
        if os.getpid() != self._process:
            raise RuntimeError(
                f"this client belongs to process {self._process}, and this is process "
                f"{os.getpid()}, forked from it: open a client here"
            )
        if self._calls is None:
            raise trio.ClosedResourceError("this client is closed")
        call = Call(self.loop, function)
        self._calls.start_soon(call.run, name=function)
        return call

    async def call(
        self, function: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run an async function in trio.

        Cancellation:
            The function is cancelled, and has ended; a grant that it has returned all
            the same is released.
        """
        return await self.call_or_undo(
            partial(function, *args, **kwargs), self._release_later
        )

    async def _release_later(self, result: object) -> None:
        if isinstance(result, Grant) and self._calls is not None:
            self._calls.start_soon(release_unusable, result)

    async def call_or_undo(
        self, function: Callable[[], Awaitable[T]], undo: Callable[[T], Awaitable[None]]
    ) -> T:
        """Run an async function in trio whose result must not get lost.

        Args:
            function: The function.
            undo: Takes back what it has returned. It runs in a cancelled scope: it must
                shield what it waits for, and limit it.

        Cancellation:
            The function is cancelled, and has ended; what it has returned all the same
            is taken back.
        """
        call = self.start(function)
        cancelled = await call.pause(never)
        result = call.result()
        if cancelled is None:
            return result
        if self._calls is not None:
            undoing = self.start(partial(undo, result))
            undoing.cancel()
            await undoing.pause(never)
        raise cancelled

    def ask(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function that does not wait, for the calling asyncio task."""
        token = reentrant_owner.set(asyncio.current_task())
        try:
            return function(*args, **kwargs)
        finally:
            reentrant_owner.reset(token)


class Call(Generic[T]):
    """An async function that runs in a trio task for an asyncio task.

    Args:
        loop: The loop of the asyncio task.
        function: The function.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, function: Callable[[], Awaitable[T]]
    ) -> None:
        self._loop = loop
        self._function = function
        self._caller = asyncio.current_task()
        self._scope = trio.CancelScope()
        self._outcome: outcome.Outcome[T] | None = None
        self._future: asyncio.Future[None] | None = None

    async def run(self) -> None:
        """Run the function; in trio."""
        reentrant_owner.set(self._caller)
        ended: outcome.Outcome[T] = outcome.Error(asyncio.CancelledError())
        try:
            with self._scope:
                try:
                    ended = outcome.Value(await self._function())
                except Exception as error:  # noqa: BLE001 - raised in the asyncio task
                    ended = outcome.Error(error)
        finally:
            self._outcome = ended
            self.wake()

    def wake(self) -> None:
        """Let the asyncio task look again at what it waits for."""
        if self._future is not None and not self._future.done():
            self._future.set_result(None)

    def cancel(self) -> None:
        """Cancel the function."""
        self._scope.cancel()

    async def pause(
        self, ready: Callable[[], bool], *, cancels: bool = True
    ) -> asyncio.CancelledError | None:
        """Wait until something is so, or the function has ended.

        Args:
            ready: Looks whether it is so; after each `wake`.
            cancels: Whether a cancellation of the asyncio task cancels the function.

        Returns:
            The cancellation of the asyncio task that came meanwhile. The function has
            ended then; the caller must raise it.
        """
        cancelled: asyncio.CancelledError | None = None
        while self._outcome is None and (cancelled is not None or not ready()):
            # A new one each time: a cancelled task has cancelled what it waits for.
            self._future = self._loop.create_future()
            try:
                await self._future
            except asyncio.CancelledError as error:
                cancelled = error
                if cancels:
                    self._scope.cancel()
        return cancelled

    def result(self) -> T:
        """Return what the function has returned, once it has ended.

        Raises:
            BaseException: What the function has raised.
        """
        assert self._outcome is not None
        return self._outcome.unwrap()

    @property
    def ended(self) -> bool:
        """Whether the function has ended."""
        return self._outcome is not None


async def hold_back(wait: Callable[[], Awaitable[object]]) -> None:
    """Wait for something that is about to be, whatever cancels the task.

    Cancellation:
        Raised when it is so.
    """
    cancelled: asyncio.CancelledError | None = None
    while True:
        try:
            await wait()
        except asyncio.CancelledError as error:
            cancelled = error
        else:
            break
    if cancelled is not None:
        raise cancelled


def _interrupt() -> None:
    raise KeyboardInterrupt


def never() -> bool:
    """Return False: a pause ends only with its function."""
    return False
