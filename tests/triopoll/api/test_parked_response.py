"""A pending response on a connection that waits for it without a task."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from triopoll.api.parked_response import ParkedResponse
from triopoll.asgi.messages import Response
from triopoll.ops.metrics import Metrics, monotonic

EXTRA = ((b"x-extra", b"1"),)


class Pending:
    """A pending response that a test ends."""

    deadline = 7.0

    def __init__(self, *proceeds: Response | Exception | None) -> None:
        self.proceeds = list(proceeds)
        self.waiter: Any = None
        self.withdrawn = 0

    def start(self, waiter: Any) -> None:
        self.waiter = waiter

    def expire(self) -> Response:
        return Response(b"expired")

    async def proceed(self) -> Response | None:
        await trio.lowlevel.checkpoint()
        found = self.proceeds.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    def withdraw(self) -> None:
        self.withdrawn += 1


class Connection:
    """A `Parking` that notes what is written."""

    sender = parked = None

    def __init__(self) -> None:
        self.written: list[tuple[int, bytes]] = []
        self.call_backs = 0

    def respond_now(
        self, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes
    ) -> None:
        assert set(EXTRA) <= set(headers)
        self.written.append((status, body))

    def call_back(self) -> None:
        self.call_backs += 1


class Sent:
    """ASGI's `send`."""

    def __init__(self) -> None:
        self.messages: list[Any] = []

    async def __call__(self, message: Any) -> None:
        await trio.lowlevel.checkpoint()
        self.messages.append(message)


def park(pending: Pending) -> tuple[ParkedResponse, Connection, Metrics]:
    connection, metrics = Connection(), Metrics()
    parked = ParkedResponse(pending, connection, metrics, "/path", EXTRA)
    parked.start()
    assert pending.waiter is parked
    return parked, connection, metrics


def test_a_response_is_written_at_once() -> None:
    """And counted, with the time since its wake."""
    pending = Pending()
    parked, connection, metrics = park(pending)
    assert parked.deadline == 7.0
    parked.settle(Response(b"done", woken=monotonic()))
    assert connection.written == [(200, b"done")]
    assert metrics.answers == {("/path", 200): 1}
    assert sum(metrics.wake_to_sent.counts) == 1


async def test_a_response_that_cannot_be_written(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The connection's task has the error, and not what has woken the wait."""
    parked, connection, _ = park(Pending())

    def refuse(*_: object) -> None:
        raise RuntimeError("no such header")

    connection.respond_now = refuse  # type: ignore[method-assign]
    parked.settle(Response(b"done"))
    assert connection.call_backs == 1
    send = Sent()
    assert await parked.proceed({}, send)
    assert send.messages[0]["status"] == 500
    assert "no such header" in caplog.text


def test_the_end_of_the_time() -> None:
    parked, connection, metrics = park(Pending())
    parked.expire()
    assert connection.written == [(200, b"expired")]
    assert sum(metrics.wake_to_sent.counts) == 0


async def test_what_is_to_be_acknowledged_is_sent_by_the_task() -> None:
    """That waits for the acknowledgement."""
    acks: list[str] = []
    parked, connection, _ = park(Pending())
    parked.settle(Response(b"1", ack=lambda: acks.append("ack")))
    assert (connection.written, connection.call_backs) == ([], 1)
    send = Sent()
    assert await parked.proceed({}, send)
    assert [each["type"] for each in send.messages] == [
        "http.response.start",
        "http.response.body",
    ]
    assert set(EXTRA) <= set(send.messages[0]["headers"])
    assert acks == ["ack"]


@pytest.mark.parametrize("can", [True, False])
def test_what_is_to_be_acknowledged_and_cannot_be_sent(can: bool) -> None:
    """It returns to where it came from."""
    nacks: list[str] = []
    nack = (lambda: nacks.append("nack")) if can else None
    pending = Pending()
    parked, _, _ = park(pending)
    parked.settle(Response(b"1", ack=lambda: None, nack=nack))
    parked.withdraw()
    assert nacks == ["nack"] * can
    assert pending.withdrawn == 1


async def test_a_call_back(autojump_clock: MockClock) -> None:
    """The wait goes on, or its response is sent."""
    parked, connection, metrics = park(Pending(None, Response(b"done", 201)))
    parked.call_back()
    assert connection.call_backs == 1
    send = Sent()
    assert not await parked.proceed({}, send)
    assert send.messages == []
    assert await parked.proceed({}, send)
    assert send.messages[1]["body"] == b"done"
    assert metrics.answers == {("/path", 201): 1}


async def test_an_error(caplog: pytest.LogCaptureFixture) -> None:
    """One request fails, and its wait is withdrawn."""
    pending = Pending(RuntimeError("broken"))
    parked, _, _ = park(pending)
    send = Sent()
    assert await parked.proceed({}, send)
    assert send.messages[0]["status"] == 500
    assert pending.withdrawn == 1
    assert "RuntimeError: broken" in caplog.text
