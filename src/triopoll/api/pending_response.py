"""The response to a wait that has no task: a pending response over a pending outcome.

It keeps the permit of the wait until the end, and ends with it: at the deadline of the
ticket, or when a newer wait of the session arrives.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Generic, Protocol, Self, TypeVar

import trio

from ..access import Permit
from ..asgi.messages import Response
from ..core.parked_waits import REPLACED, TICKET_EXPIRED
from ..pending import Pending, Waiter
from .finishing import internal_error

__all__ = ["PendingResponse", "Wait"]

_T = TypeVar("_T")
_T_co = TypeVar("_T_co", covariant=True)


class Wait(Pending[_T_co], Protocol[_T_co]):
    """A pending outcome that can be withdrawn for a reason.

    Attributes:
        subject: Of its ticket.
    """

    subject: str | None

    def withdraw(self, reason: str = ...) -> None:
        """End the wait without an outcome, for a reason of the metrics."""


class PendingResponse(ABC, Generic[_T]):
    """The `Pending` response to a wait, and the `Waiter` for its outcome.

    Use it around the first look, which may make a wait unnecessary::

        with MyPendingResponse(permit) as pending:
            found = await look()
            if isinstance(found, MyWait):
                return pending.after(found)
            return await pending.respond(found)
    """

    __slots__ = ("_found", "_is_replaced", "_permit", "_wait", "_waiter", "deadline")

    def __init__(self, permit: Permit) -> None:
        """Prepare it for a wait that may begin.

        Args:
            permit: Of the subscriber.
        """
        self.deadline = 0.0
        self._permit = permit
        self._wait: Wait[_T] | None = None
        # None while the wait is not parked.
        self._waiter: Waiter[Response] | None = None
        # An outcome whose response takes a task.
        self._found: _T | None = None
        self._is_replaced = False

    def __enter__(self) -> Self:
        self._permit.begin(self._replace)
        return self

    def __exit__(self, *_error: object) -> None:
        if self._wait is None:
            self._permit.finish()

    def after(self, wait: Wait[_T]) -> Self:
        """Return this response, which is pending as long as a wait."""
        self._wait = wait
        wait.subject = self._permit.subject
        self.deadline = wait.deadline
        if self._permit.expires is not None:
            self.deadline = min(self.deadline, self._permit.deadline)
        return self

    async def respond(self, outcome: _T) -> Response:
        """Return the response to an outcome."""
        return self._respond(outcome) or await self._respond_in_task(outcome)

    def start(self, waiter: Waiter[Response]) -> None:
        """Park; see `Pending.start`."""
        assert self._wait is not None
        self._waiter = waiter
        if self._is_replaced:
            self._replace()
        else:
            self._wait.start(self)

    def settle(self, outcome: _T) -> None:
        """Respond to an outcome; see `Waiter.settle`."""
        try:
            response = self._respond(outcome)
        except Exception:  # noqa: BLE001  # one request fails, and not who wakes it
            response = internal_error("GET", type(self).__name__)
        if response is None:
            self._found = outcome
            self.call_back()
            return
        self._permit.finish()
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            waiter.settle(response)

    def call_back(self) -> None:
        """Go on in the task of the request; see `Waiter.call_back`."""
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            waiter.call_back()

    def expire(self) -> Response:
        """Respond at the deadline, of the wait or of the ticket: see `Pending`."""
        assert self._wait is not None
        self._waiter = None
        if trio.current_time() < self._wait.deadline:
            self._wait.withdraw(TICKET_EXPIRED)
            self._permit.finish()
            return self._permit.refuse()
        outcome = self._wait.expire()
        self._permit.finish()
        response = self._respond(outcome)
        assert response is not None  # there is nothing in it that takes long
        return response

    async def proceed(self) -> Response | None:
        """Do what takes a task; see `Pending.proceed`."""
        assert self._wait is not None
        outcome, self._found = self._found, None
        if outcome is None:
            outcome = await self._wait.proceed()
        if outcome is None:
            return None
        response = self._respond(outcome) or await self._respond_in_task(outcome)
        self._permit.finish()
        return response

    def withdraw(self) -> None:
        """End the wait; see `Pending.withdraw`."""
        self._waiter = None
        self._permit.finish()
        if self._wait is not None:
            self._wait.withdraw()

    @abstractmethod
    def _respond(self, outcome: _T) -> Response | None:
        """Return the response to an outcome; None if that takes a task."""

    @abstractmethod
    async def _respond_in_task(self, outcome: _T) -> Response:
        """Return the response where `_respond` returns none."""

    def _replace(self) -> None:
        """End the wait: a newer one of the session has arrived."""
        self._is_replaced = True
        waiter, self._waiter = self._waiter, None
        if waiter is not None and self._wait is not None:
            self._wait.withdraw(REPLACED)
            self._permit.finish()
            waiter.settle(self._permit.refuse())
