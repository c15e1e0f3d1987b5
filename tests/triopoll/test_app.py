"""Starting and stopping, seen from the server."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import trio
from tests.triopoll.asgi_calls import Call as Request
from tests.triopoll.asgi_calls import refused, serving

from triopoll.app import Triopoll
from triopoll.settings import Settings
from triopoll.store import claimed_memory


@pytest.fixture
def settings(free_port: int) -> Settings:
    return Settings(slock_url=f"embedded://127.0.0.1:{free_port}")


async def test_the_services_live_as_long_as_the_server(settings: Settings) -> None:
    """The engine's port is open from the startup to the shutdown, and free again."""
    app = Triopoll(settings)
    assert settings.embedded_address is not None
    host, port = settings.embedded_address
    async with serving(app):
        async with await trio.open_tcp_stream(host, port):
            pass
    with pytest.raises(OSError, match="attempts to connect"):
        await trio.open_tcp_stream(host, port)


async def test_settings_come_from_the_environment(
    free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are read when the server starts the app, not when it is imported."""
    app = Triopoll()
    monkeypatch.setenv("TRIOPOLL_SLOCK_URL", f"embedded://127.0.0.1:{free_port}")
    monkeypatch.setenv("TRIOPOLL_MAX_WAITS", "7")
    async with serving(app):
        assert app.services().settings.max_waits == 7


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("TRIOPOLL_MAXTIMEOUT", "5"),
        ("TRIOPOLL_MAX_TIMEOUT", "soon"),
        ("TRIOPOLL_SLOCK_URL", "slock://127.0.0.1:5658/999"),
        ("TRIOPOLL_REDIS_URL", "redis://127.0.0.1?socket_timeout=soon"),
    ],
)
async def test_a_bad_setting_is_a_failed_startup(
    free_port: int, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    """The message names the variable."""
    monkeypatch.setenv("TRIOPOLL_SLOCK_URL", f"embedded://127.0.0.1:{free_port}")
    monkeypatch.setenv(variable, value)
    assert variable in await refused(Triopoll())


async def test_messages_in_memory_twice(free_port: int) -> None:
    """A second process of a crew is told to use a Redis."""
    settings = Settings(slock_url=f"slock://127.0.0.1:{free_port}", backend_limit=0.1)
    with claimed_memory():
        said = await refused(Triopoll(settings))
    assert "Run one worker" in said
    assert "TRIOPOLL_REDIS_URL" in said
    async with serving(Triopoll(settings)):
        pass


async def test_a_server_without_a_lifespan(settings: Settings) -> None:
    """A request before the startup is an error, not a hang."""
    request = Request("/poll/event?event=k")
    await request.run(Triopoll(settings))
    assert request.sent[0]["status"] == 500


@pytest.mark.parametrize(
    ("changes", "warns"),
    [
        ({"redis_url": "redis://127.0.0.1:1"}, True),
        ({"redis_url": "redis://127.0.0.1:1", "list_prefix": "poll:"}, False),
        ({}, False),
    ],
)
async def test_lists_that_anybody_may_empty_are_warned_of(
    settings: Settings,
    caplog: pytest.LogCaptureFixture,
    changes: dict[str, Any],
    warns: bool,
) -> None:
    """A visitor's key is the name of a list, and Redis has lists of others too."""
    async with serving(Triopoll(dataclasses.replace(settings, **changes))):
        pass
    messages = [record.getMessage() for record in caplog.records]
    assert any("TRIOPOLL_LIST_PREFIX" in message for message in messages) == warns


async def test_an_application_is_started_once(settings: Settings) -> None:
    """A second lifespan is refused; requests after the first one are errors."""
    app = Triopoll(settings)
    async with serving(app):
        pass
    request = Request("/livez")
    await request.run(app)
    assert request.status == 500
    assert "make a new Triopoll()" in await refused(app)
