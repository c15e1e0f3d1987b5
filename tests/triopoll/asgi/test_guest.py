"""A trio application under a server on asyncio, which is played by hand here."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing
import uvloop

from triopoll.asgi import asyncio_bridge as _crossing
from triopoll.asgi import guest
from triopoll.asgi.asyncio_bridge import AsyncioBridge
from triopoll.asgi.guest import GuestApp

Event = dict[str, Any]
Endpoint = Callable[[Any, Any, Any], Awaitable[None]]
Run = Callable[[Coroutine[Any, Any, Any]], Any]


class Server:
    """The server's side of one call."""

    def __init__(self, kind: str = "http", extensions: Any = None) -> None:
        self.scope: Any = {"type": kind, "path": "/"}
        if extensions is not None:
            self.scope["extensions"] = extensions
        self.events: asyncio.Queue[Event] = asyncio.Queue()
        self.received = 0
        self.sent: list[Event] = []
        self.on_send: Callable[[Event], Awaitable[None]] | None = None

    def tell(self, kind: str, **fields: Any) -> None:
        self.events.put_nowait({"type": kind, **fields})

    async def receive(self) -> Event:
        event = await self.events.get()
        self.received += 1
        return event

    async def send(self, event: Any) -> None:
        if self.on_send is not None:
            await self.on_send(event)
        self.sent.append(event)

    async def call(self, app: GuestApp) -> None:
        await app(self.scope, self.receive, self.send)


class Lifespan(Server):
    """The server's side of the lifespan."""

    def __init__(self) -> None:
        super().__init__("lifespan")
        self.told = asyncio.Event()

    async def send(self, event: Any) -> None:
        await super().send(event)
        self.told.set()

    async def ask(self, what: str) -> Event:
        self.told.clear()
        self.tell(f"lifespan.{what}")
        await asyncio.wait_for(self.told.wait(), 5)
        return self.sent[-1]


async def live(receive: Any, send: Any) -> None:
    """A lifespan that starts and stops."""
    for what in ("startup", "shutdown"):
        assert (await receive())["type"] == f"lifespan.{what}"
        await send({"type": f"lifespan.{what}.complete"})


def app_of(endpoint: Endpoint) -> GuestApp:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await live(receive, send)
        else:
            await endpoint(scope, receive, send)

    return GuestApp(app)


@asynccontextmanager
async def started(app: GuestApp) -> AsyncIterator[None]:
    lifespan = Lifespan()
    task = asyncio.create_task(lifespan.call(app))
    assert await lifespan.ask("startup") == {"type": "lifespan.startup.complete"}
    yield
    assert await lifespan.ask("shutdown") == {"type": "lifespan.shutdown.complete"}
    await asyncio.wait_for(task, 5)


async def answer(send: Any, body: bytes = b"hello") -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


def get(**options: Any) -> Server:
    server = Server(**options)
    server.tell("http.request", body=b"", more_body=False)
    return server


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


@pytest.fixture(params=["asyncio", "uvloop"])
def run(
    request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> Iterator[Run]:
    """Run a coroutine; nothing may be left that asyncio complains of."""
    factory = uvloop.new_event_loop if request.param == "uvloop" else None
    with asyncio.Runner(debug=True, loop_factory=factory) as runner:
        runner.get_loop().slow_callback_duration = 5
        yield runner.run
    gc.collect()
    complaints = [record for record in caplog.records if record.name == "asyncio"]
    assert not [each for each in complaints if each.levelno >= logging.WARNING]


def test_a_request_crosses(run: Run) -> None:
    """The app runs on trio, and the server gets what it sends."""

    async def endpoint(scope: Any, receive: Any, send: Any) -> None:
        assert trio.lowlevel.in_trio_task()
        assert set(scope["extensions"]) == {"triopoll.cancels", "other"}
        await trio.sleep(0.001)
        await answer(send, (await receive())["body"])

    async def main() -> None:
        async with started(app := app_of(endpoint)):
            server = Server(extensions={"other": {}})
            server.tell("http.request", body=b"echo")
            await server.call(app)
            assert server.sent[1]["body"] == b"echo"

    run(main())


async def test_under_trio_the_app_is_called_directly() -> None:
    """Nothing is added to the scope of a server that runs on trio."""
    scopes: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scopes.append(scope)

    async def nothing(*_: Any) -> Any:
        raise AssertionError

    await GuestApp(app)(scope := {"type": "http"}, nothing, nothing)
    assert scopes == [scope]
    assert scope == {"type": "http"}


def test_an_exception_of_the_app_is_the_servers(run: Run) -> None:
    """It is raised by the call, though the server sits in its receive()."""

    async def endpoint(scope: Any, receive: Any, send: Any) -> None:
        raise LookupError("no")

    async def main() -> None:
        async with started(app := app_of(endpoint)):
            for _ in range(2):
                with pytest.raises(LookupError, match="no"):
                    await get().call(app)
            task = asyncio.current_task()
            assert task is not None
            assert not task.cancelling()

    run(main())


@pytest.mark.parametrize("waits", [False, True])
def test_an_exception_of_the_server_is_the_apps(run: Run, waits: bool) -> None:
    """What send() raises comes out of the app's send()."""
    raised: list[OSError] = []

    async def endpoint(scope: Any, receive: Any, send: Any) -> None:
        try:
            await answer(send)
        except OSError as error:
            raised.append(error)

    async def refuse(event: Event) -> None:
        if waits:
            await asyncio.sleep(0)
        raise OSError("gone")

    async def main() -> None:
        async with started(app := app_of(endpoint)):
            server = get()
            server.on_send = refuse
            await server.call(app)
        assert [str(each) for each in raised] == ["gone"]

    run(main())


def test_an_exception_of_receive_ends_the_app(run: Run) -> None:
    """The app is cancelled, and the server's own error is raised."""

    async def endpoint(scope: Any, receive: Any, send: Any) -> None:
        await receive()

    async def receive() -> Event:
        raise OSError("broken")

    async def main() -> None:
        async with started(app := app_of(endpoint)):
            server = Server()
            with pytest.raises(OSError, match="broken"):
                await app(server.scope, receive, server.send)

    run(main())


def test_a_client_that_leaves_cancels_the_app(run: Run) -> None:
    """The call returns when the app's clean-up is done."""
    steps: list[str] = []

    async def endpoint(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        try:
            steps.append("parked")
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(0.01)
                steps.append("clean")

    async def main() -> None:
        async with started(app := app_of(endpoint)):
            server = get()
            call = asyncio.create_task(server.call(app))
            await until(lambda: steps == ["parked"])
            server.tell("http.disconnect")
            await call
            assert steps == ["parked", "clean"]

    run(main())


def test_the_disconnect_after_an_answer_cancels_nothing(run: Run) -> None:
    """A server reports one when the answer is complete; the app may have more to do."""
    steps: list[str] = []

    async def endpoint(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await answer(send)
        assert (await receive())["type"] == "http.disconnect"
        assert (await receive())["type"] == "http.disconnect"
        await trio.sleep(0.01)
        steps.append("done")

    async def main() -> None:
        async with started(app := app_of(endpoint)):
            server = get()

            async def disconnect(event: Event) -> None:
                if event["type"] == "http.response.body":
                    server.tell("http.disconnect")

            server.on_send = disconnect
            await server.call(app)
            assert steps == ["done"]

    run(main())


def test_a_cancelled_call_cancels_the_app(run: Run) -> None:
    """It is cancelled once, whatever the server does while the app cleans up."""
    steps: list[str] = []

    async def endpoint(scope: Any, receive: Any, send: Any) -> None:
        try:
            steps.append("parked")
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(0.02)
                steps.append("clean")

    async def main() -> None:
        async with started(app := app_of(endpoint)):
            call = asyncio.create_task(get().call(app))
            await until(lambda: steps == ["parked"])
            call.cancel()
            await asyncio.sleep(0.005)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert steps == ["parked", "clean"]

    run(main())


def test_a_cancellation_while_the_app_ends_is_kept(run: Run) -> None:
    """The server's own is not taken for the one that ends the feeding."""

    async def main() -> None:
        calls: list[asyncio.Task[None]] = []

        async def endpoint(scope: Any, receive: Any, send: Any) -> None:
            calls[0].cancel()

        async with started(app := app_of(endpoint)):
            calls.append(asyncio.create_task(get().call(app)))
            with pytest.raises(asyncio.CancelledError):
                await calls[0]

    run(main())


def test_a_body_is_read_as_fast_as_the_app_takes_it(run: Run) -> None:
    """The server is asked for one message ahead, no more."""
    go = trio.Event()

    async def endpoint(scope: Any, receive: Any, send: Any) -> None:
        await go.wait()
        body = b""
        while (event := await receive())["more_body"]:
            body += event["body"]
        await answer(send, body)

    async def main() -> None:
        async with started(app := app_of(endpoint)):
            server = Server()
            for letter in "abc":
                server.tell("http.request", body=letter.encode(), more_body=True)
            server.tell("http.request", body=b"", more_body=False)
            call = asyncio.create_task(server.call(app))
            await asyncio.sleep(0.01)
            assert server.received == 1
            go.set()
            await call
            assert server.sent[1]["body"] == b"abc"

    run(main())


def test_an_app_that_leaves_a_body_unread(run: Run) -> None:
    """The server's task does not wait for anybody to take it."""

    async def endpoint(scope: Any, receive: Any, send: Any) -> None:
        await trio.sleep(0.005)
        await answer(send)

    async def main() -> None:
        async with started(app := app_of(endpoint)):
            server = Server()
            for _ in range(3):
                server.tell("http.request", body=b"x", more_body=True)
            await server.call(app)

    run(main())


def test_a_websocket_crosses(run: Run) -> None:
    """Its farewell is for the app, which is not cancelled."""
    seen: list[Event] = []

    async def endpoint(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while (event := await receive())["type"] != "websocket.disconnect":
            await send({"type": "websocket.send", "text": event["text"]})
        await trio.sleep(0.001)
        seen.append(event)

    async def main() -> None:
        async with started(app := app_of(endpoint)):
            server = Server("websocket")
            server.tell("websocket.connect")
            for text in "ab":
                server.tell("websocket.receive", text=text)
            server.tell("websocket.disconnect", code=1001)
            await server.call(app)
            assert [event.get("text") for event in server.sent] == [None, "a", "b"]
            assert seen == [{"type": "websocket.disconnect", "code": 1001}]

    run(main())


def test_two_tasks_in_receive(run: Run) -> None:
    """The second one is told so; a cancelled one has left."""

    async def endpoint(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        with trio.move_on_after(0.001):
            await receive()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(trio.BusyResourceError):
                await receive()
            nursery.cancel_scope.cancel()
        await answer(send)

    async def main() -> None:
        async with started(app := app_of(endpoint)):
            await get().call(app)

    run(main())


def test_a_stream_lets_others_run(run: Run) -> None:
    """A client that leaves ends it, though no send() ever waits."""

    async def endpoint(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})
        while True:
            await send({"type": "http.response.body", "body": b"x", "more_body": True})

    async def main() -> None:
        async with started(app := app_of(endpoint)):
            server = get()
            call = asyncio.create_task(server.call(app))
            await until(lambda: len(server.sent) > 3)
            server.tell("http.disconnect")
            await call

    run(main())


class Stuck:
    """A send() that waits until it may go on, or is cancelled."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.waits = 0
        self.in_tasks = 0
        self.cancelled = False

    async def __call__(self, event: Event) -> None:
        self.waits += 1
        try:
            await self.go.wait()
            self.in_tasks += asyncio.current_task() is not None
        except asyncio.CancelledError:
            self.cancelled = True
            raise


def test_a_send_that_waits(run: Run) -> None:
    """It goes on in a task of asyncio's, and the app behind it."""

    async def main() -> None:
        async with started(app := app_of(lambda scope, receive, send: answer(send))):
            server = get()
            server.on_send = stuck = Stuck()
            call = asyncio.create_task(server.call(app))
            await until(lambda: stuck.waits == 1)
            assert not server.sent
            stuck.go.set()
            await call
            assert len(server.sent) == 2
            assert (stuck.waits, stuck.in_tasks) == (2, 1)

    run(main())


def test_a_client_that_leaves_cancels_a_send(run: Run) -> None:
    """It has ended when the call returns."""

    async def main() -> None:
        async with started(app := app_of(lambda scope, receive, send: answer(send))):
            server = get()
            server.on_send = stuck = Stuck()
            call = asyncio.create_task(server.call(app))
            await until(lambda: stuck.waits == 1)
            server.tell("http.disconnect")
            await call
            assert stuck.cancelled
            assert not server.sent

    run(main())


def test_a_send_that_the_server_cancels(run: Run) -> None:
    """The app learns that its client is lost."""

    async def cancel(event: Event) -> None:
        await asyncio.sleep(0)
        raise asyncio.CancelledError

    async def main() -> None:
        async with started(app := app_of(lambda scope, receive, send: answer(send))):
            server = get()
            server.on_send = cancel
            with pytest.raises(ConnectionAbortedError):
                await server.call(app)

    run(main())


def test_a_client_that_does_not_read(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is given some time, and is then lost."""
    monkeypatch.setattr(_crossing, "_SEND_SECONDS", 0.02)

    async def main() -> None:
        async with started(app := app_of(lambda scope, receive, send: answer(send))):
            server = get()
            server.on_send = stuck = Stuck()
            with pytest.raises(ConnectionAbortedError, match="read nothing"):
                await server.call(app)
            assert stuck.cancelled

    run(main())


class BareIterator:
    """An awaitable such as native servers have: its iterator has no throw()."""

    def __init__(self, future: asyncio.Future[None]) -> None:
        self._future = future
        self._steps = future.__await__()

    def __await__(self) -> Any:
        return self

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        return next(self._steps)


def test_a_send_without_a_coroutine(run: Run) -> None:
    """It is waited for, and may be cancelled."""

    async def main() -> None:
        async with started(app := app_of(lambda scope, receive, send: answer(send))):
            futures: list[asyncio.Future[None]] = []

            def send(event: Any) -> Any:
                futures.append(asyncio.get_running_loop().create_future())
                return BareIterator(futures[-1])

            server = get()
            call = asyncio.create_task(app(server.scope, server.receive, send))
            for count in (1, 2):
                await until(lambda count=count: len(futures) == count)  # type: ignore[misc]
                futures[-1].set_result(None)
            await call
            server = get()
            call = asyncio.create_task(app(server.scope, server.receive, send))
            await until(lambda: len(futures) == 3)
            server.tell("http.disconnect")
            await call

    run(main())


def test_a_failed_startup_is_told_when_trio_has_ended(run: Run) -> None:
    """The server may stop its loop at once."""
    steps: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await receive()
            await send({"type": "lifespan.startup.failed", "message": "no"})
            await receive()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(0.01)
            steps.append("clean")

    async def main() -> None:
        lifespan = Lifespan()
        lifespan.tell("lifespan.startup")
        await lifespan.call(GuestApp(app))
        assert steps == ["clean"]
        assert lifespan.sent == [{"type": "lifespan.startup.failed", "message": "no"}]

    run(main())


def test_a_failing_lifespan(run: Run) -> None:
    """An exception before the startup is the server's."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise LookupError("no")

    async def main() -> None:
        with pytest.raises(LookupError, match="no"):
            await Lifespan().call(GuestApp(app))

    run(main())


def test_calls_without_a_lifespan(run: Run) -> None:
    """They fail with a sentence that says what to do."""

    async def main() -> None:
        app = app_of(lambda scope, receive, send: answer(send))
        with pytest.raises(RuntimeError, match="lifespan on"):
            await get().call(app)
        async with started(app):
            await get().call(app)
        with pytest.raises(RuntimeError, match="lifespan on"):
            await get().call(app)

    run(main())


def test_a_second_lifespan_at_a_time(run: Run) -> None:
    """One application serves one loop; after it, it may serve again."""

    async def main() -> None:
        app = app_of(lambda scope, receive, send: answer(send))
        async with started(app):
            with pytest.raises(RuntimeError, match="running already"):
                await Lifespan().call(app)
        async with started(app):
            await get().call(app)

    run(main())


def test_an_app_that_ends_before_its_server(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says so loudly: some servers do not, and go on."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            raise LookupError("crash")

    async def main() -> None:
        crashing = GuestApp(app)
        lifespan = Lifespan()
        lifespan.tell("lifespan.startup")
        with pytest.raises(LookupError, match="crash"):
            await lifespan.call(crashing)
        with pytest.raises(RuntimeError, match="has ended"):
            await get().call(crashing)

    run(main())
    (record,) = [each for each in caplog.records if each.name == "triopoll.guest"]
    assert record.levelname == "CRITICAL"
    assert record.exc_info


def test_calls_that_are_open_at_the_shutdown(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are cut before it is complete, and the server is told."""
    monkeypatch.setattr(guest, "_LEAVE_SECONDS", 0.01)
    parked = asyncio.Event()

    async def endpoint(scope: Any, receive: Any, send: Any) -> None:
        parked.set()
        await trio.sleep_forever()

    async def main() -> None:
        async with started(app := app_of(endpoint)):
            call = asyncio.create_task(get().call(app))
            websocket = asyncio.create_task(Server("websocket").call(app))
            await parked.wait()
            await until(lambda: "2 calls" in repr(app))
        assert repr(app) == "<triopoll.asgi.GuestApp: no guest>"
        with pytest.raises(RuntimeError, match="shut down"):
            await call
        await websocket

    run(main())


def test_a_cancelled_lifespan_ends_trio(run: Run) -> None:
    """A server that is ended by force cancels it."""

    async def main() -> None:
        app = app_of(lambda scope, receive, send: answer(send))
        lifespan = Lifespan()
        task = asyncio.create_task(lifespan.call(app))
        await lifespan.ask("startup")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not trio.lowlevel.in_trio_run()

    run(main())


def test_nothing_is_left_of_a_call(run: Run) -> None:
    """However it ends, it leaves no task and no object behind."""

    async def endpoint(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        if scope["path"] == "/raise":
            raise LookupError
        if scope["path"] == "/park":
            await trio.sleep_forever()
        await answer(send)

    async def main() -> None:
        async with started(app := app_of(endpoint)):
            for _ in range(30):
                await get().call(app)
                server = get()
                server.scope["path"] = "/raise"
                with pytest.raises(LookupError):
                    await server.call(app)
                server = get()
                server.scope["path"] = "/park"
                server.tell("http.disconnect")
                await server.call(app)
            await until(lambda: "0 calls" in repr(app))
            gc.collect()
            left = [
                each for each in gc.get_objects() if isinstance(each, AsyncioBridge)
            ]
            assert [repr(each) for each in left] == ["<AsyncioBridge: lifespan, open>"]
            assert len(asyncio.all_tasks()) == 2

    run(main())
