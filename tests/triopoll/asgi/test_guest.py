"""A trio application under a server on asyncio: its start, its calls and its end."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from tests.triopoll.asgi.asyncio_server import (
    Endpoint,
    Lifespan,
    Run,
    Server,
    answer,
    get,
    live,
    until,
)

from triopoll.asgi import guest
from triopoll.asgi.asyncio_bridge import AsyncioBridge
from triopoll.asgi.guest import GuestApp, run_lifespan


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


async def test_under_trio_the_app_is_called_directly() -> None:
    """Nothing is added to the scope of a server that runs on trio."""
    scopes: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scopes.append(scope)

    await GuestApp(app)(scope := {"type": "http"}, unused, unused)
    assert scopes == [scope]
    assert scope == {"type": "http"}


def test_a_failed_startup_is_reported_when_trio_has_ended(run: Run) -> None:
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
    (record,) = [each for each in caplog.records if each.name == "triopoll.asgi.guest"]
    assert record.levelname == "CRITICAL"
    assert record.exc_info


def test_calls_that_are_open_at_the_shutdown(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are cut before it is complete; the server gets an error for each request."""
    monkeypatch.setattr(guest, "_CALL_GRACE", 0.01)
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


async def test_a_failed_startup_under_trio_is_reported_when_the_app_has_ended() -> None:
    """An error that the server makes of it has nothing of the application in it."""
    steps: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
                try:
                    raise LookupError("port taken")
                except LookupError as error:
                    failed = {"type": "lifespan.startup.failed", "message": str(error)}
                    await send(failed)
                    await trio.sleep_forever()
        finally:
            steps.append("ended")

    async def send(message: Any) -> None:
        steps.append(message["message"])
        raise OSError("as Hypercorn does")

    with pytest.raises(OSError, match="as Hypercorn does") as caught:
        await run_lifespan(app, {"type": "lifespan"}, unused, send)
    assert steps == ["ended", "port taken"]
    assert caught.value.__context__ is None


async def test_a_lifespan_under_trio_is_passed_on() -> None:
    """All other messages go to the server as the application sends them."""
    lifespan = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])
    sent: list[Any] = []

    async def receive() -> Any:
        return next(lifespan)

    async def send(message: Any) -> None:
        sent.append(message["type"])

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await live(receive, send)

    await run_lifespan(app, {"type": "lifespan"}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


async def unused(*_: Any) -> Any:
    raise AssertionError
