"""Requests whose application has returned, and whose response is still to come."""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
import trio
from tests.triopoll.server.harness import HASTY, QUICK, Client, Running, run_server
from tests.triopoll.support import eventually

from triopoll.asgi.messages import PARKING, Parking
from triopoll.server import ServerSettings

OK = [(b"content-length", b"2")]
NEXT = b"GET /next HTTP/1.1\r\nHost: h\r\n\r\n"


class Parked:
    """A parked request that a test ends."""

    def __init__(self, parking: Parking, deadline: float = math.inf) -> None:
        self.parking = parking
        self.deadline = deadline
        self.seen: list[str] = []
        self.at_start: Any = lambda parked: None
        self.proceeds: list[bool] = []

    def start(self) -> None:
        self.seen.append("start")
        self.at_start(self)

    def expire(self) -> None:
        self.seen.append("expire")
        self.respond(b"no")

    async def proceed(self, scope: Any, send: Any) -> bool:
        self.seen.append("proceed")
        await trio.lowlevel.checkpoint()
        if not self.proceeds:
            await trio.sleep_forever()
        responds = self.proceeds.pop(0)
        if responds:
            await send({"type": "http.response.start", "status": 200, "headers": OK})
            await send({"type": "http.response.body", "body": b"ok"})
        return responds

    def withdraw(self) -> None:
        self.seen.append("withdraw")

    def respond(self, body: bytes = b"ok") -> None:
        length = [(b"content-length", b"%d" % len(body))]
        self.parking.respond_now(200, length, body)


class App:
    """Parks each request for ``/park``, and answers every other one."""

    def __init__(self, deadline: float = math.inf) -> None:
        self.parked: list[Parked] = []
        self.deadline = deadline
        self.prepare: Any = lambda parked: None
        self.others = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await receive()
        if scope["path"] == "/park":
            parking = scope["extensions"][PARKING]
            assert parking.sender is send
            deadline = trio.current_time() + self.deadline
            parking.parked = parked = Parked(parking, deadline)
            self.prepare(parked)
            self.parked.append(parked)
            return
        self.others += 1
        await send({"type": "http.response.start", "status": 200, "headers": OK})
        await send({"type": "http.response.body", "body": b"hi"})

    async def wait(self, number: int = 1, what: str = "start") -> Parked:
        await eventually(lambda: len(self.parked) == number)
        parked = self.parked[-1]
        await eventually(lambda: what in parked.seen)
        return parked


async def body_of(client: Client) -> bytes:
    return (await client.read_answer()).rpartition(b"\r\n\r\n")[2]


@asynccontextmanager
async def polling(
    settings: ServerSettings = QUICK,
) -> AsyncGenerator[tuple[App, Running, Client, Parked]]:
    """Run the server, with a client whose request is parked."""
    app = App()
    async with run_server(app, settings) as running:
        client = await running.connect()
        await client.get("/park")
        yield app, running, client, await app.wait()


async def test_a_response_from_outside() -> None:
    """It is on the wire when the call returns, and the connection goes on."""
    app = App()
    async with run_server(app) as running:
        client = await running.connect()
        for number in range(1, 4):
            await client.get("/park")
            parked = await app.wait(number)
            assert running.server.busy == 1
            parked.respond()
            assert running.server.busy == 0
            assert await body_of(client) == b"ok"
            assert parked.seen == ["start"]
        await client.get()
        assert await body_of(client) == b"hi"


async def test_a_response_at_once() -> None:
    """Before the request waits for it."""
    app = App()
    app.prepare = lambda parked: setattr(parked, "at_start", Parked.respond)
    async with run_server(app) as running:
        client = await running.connect()
        for _ in range(2):
            await client.get("/park")
            assert await body_of(client) == b"ok"


async def test_what_the_client_sends_meanwhile_is_served_next() -> None:
    """And read once only, however much it is: the rest waits in the kernel."""
    async with polling() as (app, running, client, parked):
        await client.send(NEXT * 2)
        (connection,) = running.server._connections
        await eventually(lambda: connection._is_ahead)
        assert app.others == 0
        parked.respond()
        data = b""
        with trio.fail_after(5):
            while data.count(b"hi") < 2:
                data += await client.stream.receive_some()
        assert data.index(b"ok") < data.index(b"hi")
        await client.get("/park")
        (await app.wait(2)).respond()
        assert await body_of(client) == b"ok"


@pytest.mark.parametrize("leave", ["FIN", "RST", "half close"])
@pytest.mark.parametrize("ahead", [b"", NEXT * 3])
async def test_a_client_that_leaves(leave: str, ahead: bytes) -> None:
    """Its request is withdrawn, and what it sent before is not served."""
    async with polling() as (app, running, client, parked):
        await client.send(ahead)
        await client.leave_by(leave)
        await eventually(lambda: "withdraw" in parked.seen)
        await running.settle()
    assert parked.seen == ["start", "withdraw"]
    assert app.others == 0


async def test_the_deadline() -> None:
    """It ends the request and not the connection, again and again."""
    app = App(deadline=0.05)
    async with run_server(app) as running:
        client = await running.connect()
        for number in range(1, 3):
            await client.get("/park")
            assert await body_of(client) == b"no"
            assert app.parked[-1].seen == ["start", "expire"]
            assert len(app.parked) == number
        app.deadline = math.inf
        await client.get("/park")
        (await app.wait(3)).respond()
        assert await body_of(client) == b"ok"


async def test_a_call_back() -> None:
    """The connection's task goes on with the request, and parks it again."""
    async with polling() as (app, _running, client, parked):
        parked.proceeds = [False]
        parked.parking.call_back()
        await eventually(lambda: parked.seen == ["start", "proceed", "start"])
        parked.proceeds = [True]
        parked.parking.call_back()
        assert await body_of(client) == b"ok"
        await client.get("/park")
        (await app.wait(2)).respond()
        assert await body_of(client) == b"ok"


async def test_a_call_back_at_once() -> None:
    """And a deadline that passes while the task is at work."""
    app = App(deadline=0.0)

    def prepare(parked: Parked) -> None:
        parked.proceeds = [True]
        parked.at_start = lambda each: each.parking.call_back()

    app.prepare = prepare
    async with run_server(app) as running:
        client = await running.connect()
        await client.get("/park")
        assert await body_of(client) == b"ok"
        assert app.parked[0].seen == ["start", "proceed"]


async def test_a_client_that_leaves_while_the_task_is_at_work() -> None:
    """The work is cancelled, and the request withdrawn."""
    async with polling() as (app, running, client, parked):
        parked.parking.call_back()
        await app.wait(what="proceed")
        client.reset()
        await eventually(lambda: "withdraw" in parked.seen)
        await running.settle()


async def test_a_response_that_the_kernel_does_not_take_whole() -> None:
    """The task writes the rest, and the connection goes on."""
    async with polling() as (_app, _running, client, parked):
        parked.respond(b"x" * 20_000_000)
        assert len(await body_of(client)) == 20_000_000
        await client.get()
        assert await body_of(client) == b"hi"


async def test_a_client_that_does_not_read() -> None:
    """It is cut at the write deadline."""
    async with polling(HASTY) as (_app, running, _client, parked):
        parked.respond(b"x" * 20_000_000)
        await running.settle()


async def test_a_request_that_ends_its_connection() -> None:
    """What was sent behind it is not served."""
    app = App()
    async with run_server(app) as running:
        client = await running.connect()
        await client.get("/park", "Connection: close\r\n")
        await client.send(NEXT)
        (await app.wait()).respond()
        data = await client.read_all()
        assert data.endswith(b"\r\n\r\nok")
        await running.settle()
    assert app.others == 0


async def test_a_server_that_stops() -> None:
    """The request has its response, which says that the connection ends."""
    async with polling() as (_app, running, client, parked):
        (connection,) = running.server._connections
        connection.stop()
        parked.respond()
        data = await client.read_all()
        assert b"connection: close\r\n" in data
        assert data.endswith(b"ok")


async def test_a_server_that_is_cut() -> None:
    """The request is withdrawn."""
    async with polling() as (_app, running, _client, parked):
        running.nursery.cancel_scope.cancel()
    assert parked.seen == ["start", "withdraw"]


async def test_an_idle_connection_after_a_response() -> None:
    """It is closed as any other one."""
    settings = replace(HASTY, write_deadline=5)
    async with polling(settings) as (_app, running, client, parked):
        parked.respond()
        assert (await client.read_all()).endswith(b"ok")
        await running.settle()


async def test_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """A parked request is logged once, when it has its response."""
    app = App()
    settings = replace(QUICK, access_log=True)
    caplog.set_level(logging.INFO, "triopoll.requests")
    async with run_server(app, settings) as running:
        client = await running.connect()
        await client.get("/park?secret=1")
        parked = await app.wait()
        assert caplog.text == ""
        parked.respond()
        await body_of(client)
    (record,) = caplog.records
    assert "GET /park 200" in record.getMessage()


async def test_a_stale_call_does_nothing() -> None:
    """One that comes with the response, before the task has run."""
    async with polling() as (_app, _running, client, parked):
        parked.parking.call_back()
        parked.respond()
        assert await body_of(client) == b"ok"
        await client.get()
        assert await body_of(client) == b"hi"
    assert parked.seen == ["start"]
