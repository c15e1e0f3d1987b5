"""The thread with the trio run that all open blocking clients of a process share.

A call is a task of that run, in a cancel scope of its own. The calling thread waits on
a lock for its result. ``trio.from_thread.run`` is not used: it waits on a queue, and
what it has begun goes on when the wait is interrupted.

CPython runs signal handlers where a function begins or a C function returns. From the
moment at which the calling thread has the lock until the value is returned there is no
call. So an interrupt comes while `Call.wait` can still withdraw, or to the caller.
"""

from __future__ import annotations

import math
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Generic, Protocol, TypeVar

import trio

from .._arguments import check_seconds
from .._forks import give_up_in_children
from ..primitives import reentrant_owner

T = TypeVar("T")
C = TypeVar("C")
G_co = TypeVar("G_co", covariant=True)


class Context(Protocol[G_co]):
    """An async context manager, also one whose methods are not async themselves."""

    def __aenter__(self) -> Awaitable[G_co]:
        """Enter it."""
        ...

    def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> Awaitable[bool | None]:
        """Leave it."""
        ...


class _Caller(threading.local):
    """An object for each thread. Unlike its ident it is never used for another one."""

    def __init__(self) -> None:
        self.identity = object()


_caller = _Caller()


class Call(Generic[T]):
    """A task of the background run, for whose result a thread waits.

    Args:
        background: Where it runs.
        function: What it does.
        seconds: After which it is cancelled; None for never.
        undo: Called with the result if the wait for it was interrupted.
    """

    # Whether a thread also waits for its end after its result.
    _outlives_answer = False

    def __init__(
        self,
        background: Background,
        function: Callable[[], Awaitable[T]],
        seconds: float | None = None,
        undo: Callable[[T], Awaitable[object]] | None = None,
    ) -> None:
        if seconds is not None:
            check_seconds(seconds, "timeout", zero=True)
        background.check_usable()
        self._background = background
        self._function = function
        self._seconds = seconds
        self._undo = undo
        self._caller = _caller.identity
        self._scope = trio.CancelScope()
        # Released by the background thread alone, for the one thread that waits.
        self._answered, self._finished = threading.Lock(), threading.Lock()
        self._answered.acquire()
        self._finished.acquire()
        self._started = self._ended = self._withdrawn = False
        self._done = False
        self._value: T
        self._error: BaseException | None = None

    def wait(self) -> T:
        """Start it and wait for its result.

        Raises:
            TimeoutError: Its time is over; nothing is left on the server.
            BaseException: What the function raised. Or the wait was interrupted: the
                call has been cancelled, and what it returned meanwhile was undone.
        """
        interrupt: BaseException | None = None
        while True:
            # A further interrupt does not end the withdrawal.
            try:
                if interrupt is None:
                    self._background.submit(self)
                    self._answered.acquire()
                else:
                    self._background.call_soon(self.withdraw, self.fail)
                    if not self._done:
                        self._finished.acquire()
                break
            except BaseException as error:  # noqa: BLE001 - raised again below
                interrupt = interrupt or error
        if interrupt is not None:
            raise interrupt
        if self._error is not None:
            raise self._error
        return self._value

    # What follows is called by the background thread.

    def start(self) -> None:
        """Start the task."""
        self._started = True
        try:
            self._background.nursery.start_soon(self.run)
        except RuntimeError:
            # The nursery is closed: the last client has been closed.
            self.fail()

    async def run(self) -> None:
        """Do it."""
        reentrant_owner.set(self._caller)
        if self._seconds is not None:
            self._scope.deadline = trio.current_time() + self._seconds
        try:
            with self._scope:
                self._value = await self._function()
            if self._scope.cancelled_caught:
                self._error = TimeoutError(f"not done within {self._seconds} seconds")
        except trio.Cancelled:
            self.fail()
            raise
        except BaseException as error:  # noqa: BLE001 - raised in the calling thread
            self._error = error
        self._ended = True
        if self._withdrawn:
            await self._give_back()
        else:
            self._finish()

    def withdraw(self) -> None:
        """Cancel it, or undo what it has done."""
        if self._withdrawn:
            return
        self._withdrawn = True
        if not self._started:
            self._finish()
        elif self._ended:
            self._background.nursery.start_soon(self._give_back)
        else:
            self._scope.cancel()

    def fail(self) -> None:
        """End it, since the background run ends."""
        self._error = trio.ClosedResourceError("the client is closed")
        self._withdrawn = True
        self._finish()

    async def _give_back(self) -> None:
        try:
            if self._undo is not None and self._error is None:
                await self._undo(self._value)
        finally:
            self._finish()

    def _answer(self, value: T) -> None:
        """Hand over the result."""
        self._value = value
        self._answered.release()

    def _finish(self) -> None:
        self._ended = True
        self._background.pending.discard(self)
        if self._withdrawn or self._outlives_answer:
            self._done = True
            if self._finished.locked():
                self._finished.release()
        if self._answered.locked():
            self._answered.release()


class Body(Call[T], Generic[T, C]):
    """An async context manager that a task keeps open while a thread runs a body.

    Args:
        background: Where the task runs.
        make: Makes the context manager, in the task.
        wrap: Makes what the thread gets of what the context manager gives.
        seconds: Which entering it may take; None for any time.
    """

    _outlives_answer = True

    def __init__(
        self,
        background: Background,
        make: Callable[[], Context[C]],
        wrap: Callable[[C], T],
        seconds: float | None = None,
    ) -> None:
        super().__init__(background, self._hold, seconds)
        self._make = make
        self._wrap = wrap
        self._left = trio.Event()

    @property
    def error(self) -> BaseException | None:
        """What the context manager has raised by now."""
        return self._error

    def leave(self) -> BaseException | None:
        """End it; return what the context manager raises at its end.

        An interrupt shortens the wait to the client's grace, and is raised after it.
        """
        self._background.check_usable()
        interrupt: BaseException | None = None
        while True:
            try:
                step = self._left.set if interrupt is None else self._scope.cancel
                self._background.call_soon(step, self.fail)
                if not self._done:
                    self._finished.acquire()
                break
            except BaseException as error:  # noqa: BLE001 - raised again below
                interrupt = interrupt or error
        if interrupt is not None:
            raise interrupt
        return self._error

    async def _hold(self) -> T:
        async with self._make() as given:
            value = self._wrap(given)
            # Too late: the time was over when it was entered.
            if self._scope.cancel_called:
                await trio.lowlevel.checkpoint()
            self._scope.deadline = math.inf
            self._answer(value)
            await self._left.wait()
        return value


class Background:
    """A thread with a trio run. Made by `hold`, ended by `let_go`."""

    def __init__(self) -> None:
        self.users = 0
        self.pending: set[Call[Any]] = set()
        self.nursery: trio.Nursery
        self._token: trio.lowlevel.TrioToken
        self._offset = 0.0
        self._forked = False
        self._stop = trio.Event()
        self._ready = threading.Lock()
        self._ready.acquire()
        # A daemon: the interpreter joins all others before it calls atexit functions.
        self._thread = threading.Thread(
            target=self._run, name="trioslock.sync", daemon=True
        )

    def __repr__(self) -> str:
        return f"<Background: {self.users} clients, {len(self.pending)} calls>"

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()
        self._ready.acquire()
        give_up_in_children(self)

    def stop(self) -> None:
        """End the thread; calls that are under way fail."""
        self.call_soon(self._stop.set, lambda: None)
        self._thread.join()

    def forked(self) -> None:
        """Refuse to be used: the thread is not there in a child of ``os.fork``."""
        self._forked = True

    @property
    def is_usable(self) -> bool:
        """Whether it has not been inherited from the parent of this process."""
        return not self._forked

    def check_usable(self) -> None:
        """Check that the calling thread may wait for the background thread.

        Raises:
            RuntimeError: It may not.
        """
        if self._forked:
            raise RuntimeError(
                "this client belongs to the process from which this one was forked: "
                "open a client here"
            )
        check_blocking()

    def submit(self, call: Call[Any]) -> None:
        """Let a call begin."""
        self.pending.add(call)
        self.call_soon(call.start, call.fail)

    def call_soon(
        self, function: Callable[[], object], otherwise: Callable[[], object]
    ) -> None:
        """Call a function in the thread; call the other one if it has ended."""
        try:
            self._token.run_sync_soon(function)
        except trio.RunFinishedError:
            otherwise()

    def monotonic(self, trio_time: float) -> float:
        """Return a time of the run as one of ``time.monotonic()``."""
        return trio_time + self._offset

    def _run(self) -> None:
        try:
            trio.run(self._main)
        finally:
            for call in tuple(self.pending):
                call.fail()

    async def _main(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._offset = time.monotonic() - trio.current_time()
        async with trio.open_nursery() as self.nursery:
            self._ready.release()
            await self._stop.wait()
            self.nursery.cancel_scope.cancel()


def check_blocking() -> None:
    """Check that a blocking call does not stop an event loop.

    Raises:
        RuntimeError: A loop runs in this thread, or gevent has replaced threads.
    """
    asyncio = sys.modules.get("asyncio")
    running = asyncio is not None and asyncio._get_running_loop() is not None
    if running or trio.lowlevel.in_trio_run():
        raise RuntimeError(
            "an event loop runs in this thread, and a blocking call would stop it: use "
            "trioslock in trio, or make the call in a thread (trio.to_thread.run_sync, "
            "asyncio.to_thread)"
        )
    monkey = sys.modules.get("gevent.monkey")
    if monkey is not None and monkey.is_module_patched("threading"):
        raise RuntimeError("trioslock.sync does not work with the threads of gevent")


_lock = threading.Lock()
_present: Background | None = None


def hold() -> Background:
    """Return the background run of this process for one more client."""
    global _lock, _present  # noqa: PLW0603 - one for each process
    if _present is not None and not _present.is_usable:
        # In a child of fork, where another thread may have held the lock.
        _lock, _present = threading.Lock(), None
    with _lock:
        if _present is None:
            background = Background()
            background.start()
            _present = background
        _present.users += 1
        return _present


def let_go(background: Background) -> None:
    """Give back what `hold` returned; the last client ends the thread."""
    global _present  # noqa: PLW0603 - one for each process
    with _lock:
        background.users -= 1
        if background.users:
            return
        if _present is background:
            _present = None
    background.stop()
