"""The application's start and end, however it behaves in them."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from triopoll.server import LifespanError, StartupFailed
from triopoll.server.lifespan import StartupStopped, open_lifespan


async def test_startup_before_and_shutdown_after_the_block() -> None:
    """The state that startup left is there in between."""
    received: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "lifespan"
        received.append((await receive())["type"])
        scope["state"]["x"] = 1
        await send({"type": "lifespan.startup.complete"})
        received.append((await receive())["type"])
        await send({"type": "lifespan.shutdown.complete"})

    async with open_lifespan(app) as state:
        assert received == ["lifespan.startup"]
        assert state == {"x": 1}
    assert received == ["lifespan.startup", "lifespan.shutdown"]


async def test_an_application_that_goes_on_receiving_is_ended() -> None:
    """Nothing follows the shutdown; an application that waits for it is cancelled."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while True:
            kind = (await receive())["type"]
            await send({"type": f"{kind}.complete"})

    with trio.fail_after(1):
        async with open_lifespan(app):
            pass


async def test_a_refusal_has_the_message_of_the_application() -> None:
    """startup.failed ends the application and says why."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        async with trio.open_nursery():
            await send({"type": "lifespan.startup.failed", "message": "run one worker"})
            await trio.sleep_forever()

    with pytest.raises(StartupFailed, match=r"^run one worker$"):
        async with open_lifespan(app):
            pytest.fail("it has not started")


async def test_an_error_before_the_start_is_a_refusal() -> None:
    """The error is its cause."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise ValueError("no lifespan here")

    with pytest.raises(StartupFailed, match="no lifespan here") as caught:
        async with open_lifespan(app):
            pytest.fail("it has not started")
    assert isinstance(caught.value.__cause__, ValueError)


async def test_returning_before_the_start_is_a_refusal() -> None:
    """An application that does not answer the startup has not started."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()

    with pytest.raises(StartupFailed, match="left its lifespan"):
        async with open_lifespan(app):
            pytest.fail("it has not started")


async def test_an_error_while_running_ends_the_block() -> None:
    """A background task of the application that dies takes the server with it."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        raise ValueError("lost")

    with pytest.raises(ValueError, match="lost"):
        async with open_lifespan(app):
            await trio.sleep_forever()


async def test_the_errors_of_block_and_application_are_kept_together() -> None:
    """Two errors stay a group."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("application")

    with pytest.raises(BaseExceptionGroup) as caught:
        async with open_lifespan(app):
            raise KeyError("block")
    assert caught.group_contains(ValueError, match="application")
    assert caught.group_contains(KeyError, match="block")


async def test_a_nested_error_of_the_application_is_unwrapped() -> None:
    """A group of one is its one error."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        async with trio.open_nursery():
            raise ValueError("deep")

    with pytest.raises(ValueError, match="deep"):
        async with open_lifespan(app):
            await trio.sleep_forever()


async def test_a_failed_shutdown_is_reported() -> None:
    """shutdown.failed becomes an error with its message."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.failed", "message": "not flushed"})

    with pytest.raises(LifespanError, match="not flushed"):
        async with open_lifespan(app):
            pass


async def test_a_shutdown_that_hangs_is_ended(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The shutdown has a deadline."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await trio.sleep_forever()

    with pytest.raises(LifespanError, match="not shut down within"):
        async with open_lifespan(app):
            pass


async def test_a_wrong_message_is_refused() -> None:
    """Another protocol's message is named."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start"})

    with pytest.raises(StartupFailed, match="not a message of a lifespan"):
        async with open_lifespan(app):
            pytest.fail("it has not started")


async def test_a_start_that_is_stopped_is_cancelled() -> None:
    """The application cleans up, and the block is not entered."""
    seen: list[str] = []
    asked = trio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        asked.set()
        try:
            await trio.sleep_forever()
        finally:
            seen.append("cleaned up")

    with pytest.raises(StartupStopped):
        async with open_lifespan(app, asked.wait):
            pytest.fail("it has not started")
    assert seen == ["cleaned up"]


async def test_nothing_stops_a_start_that_is_over() -> None:
    """What waits for the stop is cancelled as soon as the application has started."""
    seen: list[str] = []

    async def stopped() -> None:
        try:
            await trio.sleep_forever()
        finally:
            seen.append("cancelled")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for _ in range(2):
            await send({"type": f"{(await receive())['type']}.complete"})

    async with open_lifespan(app, stopped):
        assert seen == ["cancelled"]


async def test_an_application_that_fails_while_it_is_stopped() -> None:
    """Its failure is not hidden by the stop."""
    asked = trio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        asked.set()
        try:
            await trio.sleep_forever()
        finally:
            raise LookupError("not closed")

    with pytest.raises(StartupFailed, match="not closed"):
        async with open_lifespan(app, asked.wait):
            pytest.fail("it has not started")
