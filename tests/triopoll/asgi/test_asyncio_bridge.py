"""One call between two loops, each side played by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import outcome
import pytest
import trio
import trio.testing
from tests.triopoll.asgi.asyncio_server import (
    Endpoint,
    Event,
    Run,
    Server,
    answer,
    get,
    until,
)

from triopoll.asgi import asyncio_bridge
from triopoll.asgi.asyncio_bridge import AsyncioBridge


class Bridged:
    """An endpoint on trio, as an application that the asyncio side calls."""

    def __init__(self, endpoint: Endpoint, calls: trio.Nursery) -> None:
        self._endpoint = endpoint
        self.calls = calls

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        loop = asyncio.get_running_loop()
        bridge = AsyncioBridge(loop, self._endpoint, scope, receive, send)
        scope["bridge"] = bridge
        self.calls.start_soon(bridge.run_in_trio)
        await bridge.run_in_asyncio()


@asynccontextmanager
async def bridged(endpoint: Endpoint) -> AsyncIterator[Bridged]:
    """Run trio as a guest of the running loop until the block is left."""
    loop = asyncio.get_running_loop()
    nurseries: asyncio.Queue[trio.Nursery] = asyncio.Queue()
    ended: asyncio.Future[outcome.Outcome[None]] = loop.create_future()

    async def main() -> None:
        async with trio.open_nursery() as calls:
            nurseries.put_nowait(calls)
            await trio.sleep_forever()

    trio.lowlevel.start_guest_run(
        main,
        run_sync_soon_threadsafe=loop.call_soon_threadsafe,
        run_sync_soon_not_threadsafe=loop.call_soon,
        done_callback=ended.set_result,
        host_uses_signal_set_wakeup_fd=True,
    )
    calls = await nurseries.get()
    try:
        yield Bridged(endpoint, calls)
    finally:
        calls.cancel_scope.cancel()
        (await ended).unwrap()


def test_an_exception_of_the_app_is_the_servers(run: Run) -> None:
    """It is raised by the call, though the server sits in its receive()."""

    async def endpoint(scope: Any, receive: Any, send: Any) -> None:
        raise LookupError("no")

    async def main() -> None:
        async with bridged(endpoint) as app:
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
        async with bridged(endpoint) as app:
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
        async with bridged(endpoint) as app:
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
        async with bridged(endpoint) as app:
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
        async with bridged(endpoint) as app:
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
        async with bridged(endpoint) as app:
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
    """A cancellation by the server is not taken for the bridge's own one."""

    async def main() -> None:
        calls: list[asyncio.Task[None]] = []

        async def endpoint(scope: Any, receive: Any, send: Any) -> None:
            calls[0].cancel()

        async with bridged(endpoint) as app:
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
        async with bridged(endpoint) as app:
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
    """The server's task does not wait for the app to take it."""

    async def endpoint(scope: Any, receive: Any, send: Any) -> None:
        await trio.sleep(0.005)
        await answer(send)

    async def main() -> None:
        async with bridged(endpoint) as app:
            server = Server()
            for _ in range(3):
                server.tell("http.request", body=b"x", more_body=True)
            await server.call(app)

    run(main())


def test_a_websocket_crosses(run: Run) -> None:
    """Its disconnect is a message for the app, which is not cancelled."""
    seen: list[Event] = []

    async def endpoint(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while (event := await receive())["type"] != "websocket.disconnect":
            await send({"type": "websocket.send", "text": event["text"]})
        await trio.sleep(0.001)
        seen.append(event)

    async def main() -> None:
        async with bridged(endpoint) as app:
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
    """The second one gets an error; one that was cancelled does not count."""

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
        async with bridged(endpoint) as app:
            await get().call(app)

    run(main())


def test_a_stream_lets_others_run(run: Run) -> None:
    """A client that leaves ends it, though no send() ever waits."""

    async def endpoint(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})
        while True:
            await send({"type": "http.response.body", "body": b"x", "more_body": True})

    async def main() -> None:
        async with bridged(endpoint) as app:
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
    """It goes on in a task of asyncio, and the app goes on after it."""

    async def main() -> None:
        async with bridged(lambda scope, receive, send: answer(send)) as app:
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
        async with bridged(lambda scope, receive, send: answer(send)) as app:
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
    """The app gets the error that its client is lost."""

    async def cancel(event: Event) -> None:
        await asyncio.sleep(0)
        raise asyncio.CancelledError

    async def main() -> None:
        async with bridged(lambda scope, receive, send: answer(send)) as app:
            server = get()
            server.on_send = cancel
            with pytest.raises(ConnectionAbortedError):
                await server.call(app)

    run(main())


def test_a_client_that_does_not_read(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a limit the app gets the error that its client is lost."""
    monkeypatch.setattr(asyncio_bridge, "_SEND_SECONDS", 0.02)

    async def main() -> None:
        async with bridged(lambda scope, receive, send: answer(send)) as app:
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
        async with bridged(lambda scope, receive, send: answer(send)) as app:
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


@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_an_app_that_is_shut_down(run: Run, kind: str) -> None:
    """A request gets an error, since it must be answered; a websocket just ends."""

    async def endpoint(scope: Any, receive: Any, send: Any) -> None:
        await trio.sleep_forever()

    async def main() -> None:
        async with bridged(endpoint) as app:
            call = asyncio.create_task(Server(kind).call(app))
            await until(lambda: bool(app.calls.child_tasks))
            app.calls.cancel_scope.cancel()
            if kind == "http":
                with pytest.raises(RuntimeError, match="shut down"):
                    await call
            else:
                await call

    run(main())


def test_a_receive_that_ends_together_with_the_app(run: Run) -> None:
    """The server's task has left receive() before it would be cancelled there."""

    async def main() -> None:
        go = trio.Event()

        async def endpoint(scope: Any, receive: Any, send: Any) -> None:
            await go.wait()

        async with bridged(endpoint) as app:
            server = Server()
            call = asyncio.create_task(server.call(app))
            await until(lambda: bool(app.calls.child_tasks))
            go.set()
            server.tell("http.request", body=b"", more_body=True)
            await call
            assert not call.cancelled()

    run(main())


def test_the_representation_shows_the_state(run: Run) -> None:
    """For a leak that is looked for."""
    seen: list[str] = []

    async def endpoint(scope: Any, receive: Any, send: Any) -> None:
        seen.append(repr(scope["bridge"]))
        await answer(send)
        seen.append(repr(scope["bridge"]))

    async def main() -> None:
        async with bridged(endpoint) as app:
            server = get()
            await server.call(app)
            seen.append(repr(server.scope["bridge"]))

    run(main())
    states = ["open", "answered", "over"]
    assert seen == [f"<AsyncioBridge: http, {state}>" for state in states]
