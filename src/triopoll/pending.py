"""Waits without a task: what they wait for ends them with a call.

A parked request with a task that waits keeps all coroutines between the task and the
wait, and its wake resumes each of them. Here a wait is an object. The task of the
request does something else meanwhile, such as reading from the client's connection; or
it waits in `wait_in_task`, where the server has nothing better for it.

`Pending.start` parks a wait. Then one of these happens, and each ends the parking:

- the wait calls `Waiter.settle`: its result is there;
- the wait calls `Waiter.call_back`: something that awaits has to be done, so the
  waiter's task calls `Pending.proceed`, which returns the result, or None: then `start`
  parks the wait again;
- the waiter calls `Pending.expire` after the deadline, which returns the result;
- the waiter calls `Pending.withdraw`: nobody wants the result any more.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Generic, Protocol, TypeVar

import trio
from trio.lowlevel import Abort, Task, current_task, reschedule, wait_task_rescheduled

__all__ = ["Pending", "Waiter", "wait_in_task", "waiting_subject"]

# The subject of the ticket that the present task waits with; None without one. What
# parks a wait is several calls below what has checked the ticket, and only operators
# want to know (docs/decisions/0166).
waiting_subject: ContextVar[str | None] = ContextVar("waiting_subject", default=None)

_T = TypeVar("_T")
_T_co = TypeVar("_T_co", covariant=True)
_T_contra = TypeVar("_T_contra", contravariant=True)


class Waiter(Protocol[_T_contra]):
    """Who waits. Its methods return at once, and do not raise."""

    def settle(self, result: _T_contra, /) -> None:
        """Take the result; the wait is over."""
        ...

    def call_back(self) -> None:
        """Call `Pending.proceed`, soon, in a task."""
        ...


class Pending(Protocol[_T_co]):
    """A wait that has begun, and whose result is not there yet."""

    @property
    def deadline(self) -> float:
        """Return when `expire` is to be called, by trio's clock; may be infinite."""
        ...

    def start(self, waiter: Waiter[_T_co]) -> None:
        """Park. The waiter may be called before this returns."""
        ...

    def expire(self) -> _T_co:
        """End the wait, which is parked, since its time is over."""
        ...

    async def proceed(self) -> _T_co | None:
        """Do what the waiter was called back for; return None to be parked again.

        Cancellation:
            The wait is neither parked nor over: withdraw it.
        """
        ...

    def withdraw(self) -> None:
        """End the wait without a result; does nothing if it is over."""
        ...


class _TaskWaiter(Generic[_T]):
    """Resumes the task that waits in `wait`."""

    __slots__ = ("_is_called", "_task", "results")

    def __init__(self) -> None:
        # A list, since the result may come before the task waits.
        self.results: list[_T] = []
        self._is_called = False
        self._task: Task | None = None

    def settle(self, result: _T) -> None:
        self.results.append(result)
        self.call_back()

    def call_back(self) -> None:
        self._is_called = True
        if self._task is not None:
            task, self._task = self._task, None
            reschedule(task)

    async def wait(self) -> None:
        """Wait for a call.

        Cancellation:
            Only while there was no call: a result is never dropped.
        """
        if self._is_called:
            await trio.lowlevel.cancel_shielded_checkpoint()
        else:
            self._task = current_task()
            await wait_task_rescheduled(self._abort)

    def _abort(self, _raise_cancel: object) -> Abort:
        self._task = None
        return Abort.SUCCEEDED


async def wait_in_task(pending: Pending[_T]) -> _T:
    """Wait in this task, as long as the deadline allows.

    Cancellation:
        The wait is withdrawn.
    """
    try:
        while True:
            waiter = _TaskWaiter[_T]()
            with trio.CancelScope(deadline=pending.deadline) as scope:
                pending.start(waiter)
                await waiter.wait()
            if waiter.results:
                return waiter.results[0]
            if scope.cancelled_caught:
                return pending.expire()
            result = await pending.proceed()
            if result is not None:
                return result
    finally:
        pending.withdraw()
