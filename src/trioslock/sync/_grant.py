"""Grants in blocking code, and the handles that give them."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from functools import partial
from types import TracebackType
from typing import Generic, TypeVar

from .. import primitives
from .._arguments import shown
from .._errors import LockLost, NotHeld
from ..primitives import Holder, Lease, loss, raise_outcome, release_unusable
from ..protocol import Data, DataLike
from ._background import Background, Body, Call

T = TypeVar("T")
C = TypeVar("C")
H = TypeVar("H", bound=primitives.Handle)
A = TypeVar("A", bound=primitives.Acquirable)


class Blocking:
    """Something that is used by way of the background thread."""

    def __init__(self, background: Background) -> None:
        self._background = background

    def call(
        self,
        function: Callable[[], Awaitable[T]],
        timeout: float | None,
        undo: Callable[[T], Awaitable[object]] | None = None,
    ) -> T:
        """Run an async function in the background thread and wait for its result."""
        return Call(self._background, function, timeout, undo).wait()


def leave(body: Body[T, C], error: BaseException | None) -> bool:
    """End the body of a ``with``: raise the one error that it comes to.

    The error of the body itself goes on, with a note about a loss.
    """
    end = body.leave()
    return False if end is None else raise_outcome(error, error, end)


class BodyContext(AbstractContextManager[T], Generic[T, C]):
    """A ``with`` around an async context manager of the background run.

    Args:
        make: Makes the body, which has not been entered.
    """

    def __init__(self, make: Callable[[], Body[T, C]]) -> None:
        self._make = make
        self._body: Body[T, C] | None = None

    def __enter__(self) -> T:
        if self._body is not None:
            raise RuntimeError("this has been entered already: make another for it")
        self._body = self._make()
        return self._body.wait()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        assert self._body is not None
        return leave(self._body, exc)


class Grant(Blocking):
    """One holding of a key, as `trioslock.Grant`, in blocking code.

    A thread cannot be cancelled, so the body of a ``with`` goes on when the grant is
    lost: look at `held`, call `check` between its steps, or give `on_lost` a function.
    `LockLost` is raised at the end of the ``with``; a body that fails by itself keeps
    its error, with a note about the loss. While the body runs, a lease of seconds is
    renewed by the background thread.

    Any thread may use it.
    """

    def __init__(
        self,
        background: Background,
        grant: primitives.Grant,
        body: Body[Grant, primitives.Grant] | None = None,
    ) -> None:
        super().__init__(background)
        self._grant = grant
        self._body = body

    def __repr__(self) -> str:
        return repr(self._grant)

    @property
    def key(self) -> bytes:
        """The 16 bytes of the key."""
        return self._grant.key

    @property
    def lock_id(self) -> bytes:
        """The 16 bytes under which the server knows this grant."""
        return self._grant.lock_id

    @property
    def token(self) -> int | None:
        """The fencing token, larger than that of every grant before; None without."""
        return self._grant.token

    @property
    def data(self) -> Data | None:
        """The value that the key carried when it was granted, or None."""
        return self._grant.data

    @property
    def held(self) -> bool:
        """Whether it was neither released nor, as known here, lost."""
        return self._grant.held

    @property
    def lost(self) -> bool:
        """Whether it has ended without a release by its holder."""
        return self._lost() is not None

    @property
    def expires_at(self) -> float:
        """Time of ``time.monotonic()`` when the lease can end, or ``math.inf``."""
        return self._background.monotonic(self._grant.expires_at)

    def check(self) -> None:
        """Do nothing if the key is held; it does not ask the server.

        Raises:
            LockLost: The grant is lost: end the body.
            NotHeld: It has been released.
        """
        lost = self._lost()
        if lost is not None:
            raise lost
        if not self._grant.held:
            raise NotHeld(f"{self!r} has been released", key=self.key)

    def on_lost(self, function: Callable[[LockLost], object]) -> None:
        """Call a function, in a thread of its own, when the grant is lost.

        Args:
            function: Called once, with the error; at once if it is lost already.

        Raises:
            TypeError: It cannot be called.
        """
        if not callable(function):
            raise TypeError(f"function must be callable, not {shown(function)}")

        async def report() -> None:
            function_of_loss = partial(function, await self._grant.wait_lost())
            threading.Thread(target=function_of_loss, daemon=True).start()

        self._background.check_usable()
        nursery = self._background.nursery
        self._background.call_soon(partial(nursery.start_soon, report), lambda: None)

    def extend(self, lease: Lease, *, timeout: float | None = None) -> None:
        """Replace the lease by one that starts now; see `trioslock.Grant.extend`."""
        self.call(partial(self._grant.extend, lease), timeout)

    def update(self, data: DataLike, *, timeout: float | None = None) -> Data | None:
        """Change the key's value; see `trioslock.Grant.update`."""
        return self.call(partial(self._grant.update, data), timeout)

    def release(
        self, data: DataLike | None = None, *, timeout: float | None = None
    ) -> None:
        """Release the key; see `trioslock.Grant.release`."""
        self.call(partial(self._grant.release, data), timeout)

    def wait_lost(self, *, timeout: float | None = None) -> LockLost:
        """Wait until the grant is lost; see `trioslock.Grant.wait_lost`."""
        return self.call(self._grant.wait_lost, timeout)

    def detach(self) -> None:
        """Leave the key held until its lease ends; see `trioslock.Grant.detach`."""

        async def detach() -> None:
            self._grant.detach()

        self.call(detach, None)

    def _lost(self) -> LockLost | None:
        error = None if self._body is None else self._body.error
        if isinstance(error, LockLost):
            return error
        reason = self._grant.loss_reason
        return None if reason is None else loss(self.key, reason)

    def __enter__(self) -> Grant:
        if self._body is not None:
            raise RuntimeError(f"{self!r} has been entered already")
        body: Body[Grant, primitives.Grant]
        body = Body(self._background, lambda: self._grant, lambda _: self)
        self._body = body
        return body.wait()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        assert self._body is not None
        return leave(self._body, exc)


class Handle(Blocking, Generic[H]):
    """A key of one database, and a handle of trio on it; it may be shared."""

    def __init__(self, background: Background, handle: H) -> None:
        super().__init__(background)
        self._handle = handle

    def __repr__(self) -> str:
        return repr(self._handle)

    @property
    def key(self) -> bytes:
        """The 16 bytes of the key."""
        return self._handle.key

    @property
    def db(self) -> int:
        """The number of the database."""
        return self._handle.db


_Bodies = list[Body[Grant, primitives.Grant]]


class Acquirable(Handle[A]):
    """A handle that hands out grants, in blocking code."""

    def __init__(self, background: Background, handle: A) -> None:
        super().__init__(background, handle)
        # By thread; the innermost body is the last.
        self._entered: dict[int, _Bodies] = {}

    @property
    def flags(self) -> primitives.Flags:
        """The flags of each request."""
        return self._handle.flags

    @property
    def priority(self) -> int | None:
        """The position in the queue."""
        return self._handle.priority

    @property
    def renew(self) -> bool:
        """Whether a lease of seconds is renewed while a body runs."""
        return self._handle.renew

    def acquire(
        self, *, data: DataLike | None = None, timeout: float | None = None
    ) -> Grant:
        """Wait until the key is granted; see `trioslock.Lock.acquire`.

        Raises:
            TimeoutError: It was not within ``timeout`` seconds; nothing is held or
                waits on the server.
        """
        return self._take(partial(self._handle.acquire, data=data), timeout)

    def try_acquire(
        self, *, data: DataLike | None = None, timeout: float | None = None
    ) -> Grant:
        """Take the key if it is free now; see `trioslock.Lock.try_acquire`.

        Raises:
            WouldBlock: The key is held, or others wait for it.
            TimeoutError: There was no answer within ``timeout`` seconds.
        """
        return self._take(partial(self._handle.try_acquire, data=data), timeout)

    def _take(
        self, acquire: Callable[[], Awaitable[primitives.Grant]], timeout: float | None
    ) -> Grant:
        taken: list[primitives.Grant] = []

        async def take() -> Grant:
            taken.append(await acquire())
            return Grant(self._background, taken[0])

        return self.call(take, timeout, lambda _: release_unusable(taken[0]))

    def show(self, *, timeout: float | None = None) -> Holder | None:
        """Return the first holder of the key; see `trioslock.Lock.show`."""
        return self.call(self._handle.show, timeout)

    def release_head(self, *, timeout: float | None = None) -> None:
        """Release the first holder's grant; see `trioslock.Lock.release_head`."""
        self.call(self._handle.release_head, timeout)

    def __enter__(self) -> Grant:
        # Added first: nothing may come between the grant and the body of the `with`.
        bodies = self._entered.setdefault(threading.get_ident(), [])
        body: Body[Grant, primitives.Grant]
        body = Body(
            self._background,
            lambda: self._handle,
            lambda grant: Grant(self._background, grant, body),
        )
        bodies.append(body)
        try:
            return body.wait()
        except BaseException:
            self._remove(body)
            raise

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        body = self._innermost()
        try:
            return leave(body, exc)
        finally:
            self._remove(body)

    def _innermost(self) -> Body[Grant, primitives.Grant]:
        """Return the body that this thread entered last, or the only one there is.

        Raises:
            RuntimeError: It cannot be told which one it is.
        """
        mine = self._entered.get(threading.get_ident())
        if mine:
            return mine[-1]
        every = [body for bodies in tuple(self._entered.values()) for body in bodies]
        if len(every) == 1:
            return every[0]
        raise RuntimeError(
            f"{self!r} was not entered by {threading.current_thread().name!r}, which "
            f"leaves it; which of its {len(every)} bodies has ended cannot be told"
        )

    def _remove(self, body: Body[Grant, primitives.Grant]) -> None:
        for thread, bodies in tuple(self._entered.items()):
            if body in bodies:
                bodies.remove(body)
                if not bodies:
                    self._entered.pop(thread, None)


E = TypeVar("E", bound=primitives.ExclusiveHandle)


class ExclusiveHandle(Acquirable[E]):
    """A handle on a key that one holder at a time has."""

    def locked(self, *, timeout: float | None = None) -> bool:
        """Return whether the key is held; see `trioslock.Lock.locked`."""
        return self.call(self._handle.locked, timeout)
