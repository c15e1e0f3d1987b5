"""The response to a wait that has no task."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import trio
from tests.triopoll.waiters import Calls
from trio.testing import MockClock

from triopoll.access import AccessControl, Permit, Refusal, Rules
from triopoll.api.pending_response import PendingResponse
from triopoll.asgi.messages import Request, Response, json_response


def write(refusal: Refusal) -> Response:
    return json_response({"code": refusal.code}, refusal.status)


class Wait:
    """A pending outcome that a test ends."""

    deadline = math.inf

    def __init__(self) -> None:
        self.waiter: Any = None
        self.withdrawn: list[str] = []
        self.proceeds: list[str | None] = []

    def start(self, waiter: Any) -> None:
        self.waiter = waiter

    def expire(self) -> str:
        return "expired"

    async def proceed(self) -> str | None:
        await trio.lowlevel.checkpoint()
        return self.proceeds.pop(0)

    def withdraw(self, reason: str = "disconnect") -> None:
        self.withdrawn.append(reason)


class Shown(PendingResponse[str]):
    """Writes the outcome; "slow" takes a task, and "bad" fails."""

    __slots__ = ()

    def _respond(self, outcome: str) -> Response | None:
        if outcome == "bad":
            raise RuntimeError(outcome)
        return None if outcome == "slow" else Response(outcome.encode())

    async def _respond_in_task(self, outcome: str) -> Response:
        await trio.lowlevel.checkpoint()
        return Response(f"{outcome} in a task".encode())


def bodies(calls: Calls) -> list[bytes]:
    return [each.body for each in calls.results]


ACCESS = AccessControl(Rules())


def permit(access: AccessControl = ACCESS, query: bytes = b"") -> Permit:
    request = Request("GET", "/", query, [(b"host", b"localhost")], "127.0.0.1")
    admitted = access.admit_subscriber(request, ["k"], write)
    assert isinstance(admitted, Permit)
    return admitted


def begin(given: Permit | None = None) -> tuple[Shown, Wait, Calls]:
    wait, calls = Wait(), Calls()
    with Shown(given or permit()) as pending:
        pending.after(wait)
    pending.start(calls)
    return pending, wait, calls


async def test_an_outcome(autojump_clock: MockClock) -> None:
    _, wait, calls = begin()
    wait.waiter.settle("done")
    assert bodies(calls) == [b"done"]


async def test_an_outcome_that_takes_a_task(autojump_clock: MockClock) -> None:
    pending, wait, calls = begin()
    wait.waiter.settle("slow")
    assert (bodies(calls), calls.call_backs) == ([], 1)
    response = await pending.proceed()
    assert response is not None
    assert response.body == b"slow in a task"


async def test_an_outcome_that_cannot_be_written(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """What wakes it is not disturbed."""
    _, wait, calls = begin()
    wait.waiter.settle("bad")
    assert [each.status for each in calls.results] == [500]
    assert "RuntimeError: bad" in caplog.text


async def test_a_call_back(autojump_clock: MockClock) -> None:
    """It is passed on; the wait may then go on, or have an outcome."""
    pending, wait, calls = begin()
    wait.proceeds = [None, "done"]
    wait.waiter.call_back()
    assert calls.call_backs == 1
    assert await pending.proceed() is None
    pending.start(calls)
    wait.waiter.call_back()
    response = await pending.proceed()
    assert response is not None
    assert response.body == b"done"


async def test_the_end_of_the_time(autojump_clock: MockClock) -> None:
    pending, wait, _ = begin()
    wait.deadline = trio.current_time()
    assert pending.expire().body == b"expired"


async def test_a_ticket_that_expires(autojump_clock: MockClock) -> None:
    """The wait ends with it, and is refused."""
    given = permit()
    given.expires = ACCESS.clock() + 5
    pending, wait, _ = begin(given)
    assert pending.deadline == pytest.approx(trio.current_time() + 5, abs=0.5)
    assert json.loads(pending.expire().body) == {"code": "ticket_expired"}
    assert wait.withdrawn == ["ticket_expired"]


@pytest.mark.parametrize("when", ["parked", "at work", "not parked yet"])
async def test_a_newer_wait_of_the_session(
    autojump_clock: MockClock, when: str
) -> None:
    """The older one ends at once, or as soon as it would be parked."""
    access = AccessControl(Rules())
    wait, calls = Wait(), Calls()
    with Shown(permit(access, b"session=s")) as pending:
        if when == "not parked yet":
            permit(access, b"session=s")
        pending.after(wait)
    if when != "not parked yet":
        pending.start(calls)
        if when == "at work":
            wait.proceeds = [None]
            wait.waiter.call_back()
        permit(access, b"session=s")
        if when == "at work":
            assert calls.results == []
            assert await pending.proceed() is None
    if not calls.results:
        pending.start(calls)
    assert [each.status for each in calls.results] == [409]
    assert wait.withdrawn == ["replaced"]
    assert len(access.sessions) == 0


async def test_a_withdrawal(autojump_clock: MockClock) -> None:
    """The wait ends, and what comes later is not written."""
    pending, wait, calls = begin()
    pending.withdraw()
    assert wait.withdrawn == ["disconnect"]
    wait.waiter.settle("late")
    wait.waiter.call_back()
    assert (bodies(calls), calls.call_backs) == ([], 0)


async def test_a_look_that_makes_a_wait_unnecessary(autojump_clock: MockClock) -> None:
    """The permit ends with the block; a withdrawal has nothing more to do."""
    access = AccessControl(Rules())
    with Shown(permit(access, b"session=s")) as pending:
        assert len(access.sessions) == 1
        assert (await pending.respond("done")).body == b"done"
        assert (await pending.respond("slow")).body == b"slow in a task"
    assert len(access.sessions) == 0
    pending.withdraw()
