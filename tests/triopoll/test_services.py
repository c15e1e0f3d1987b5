"""Services: what is opened together, and what is said about it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import trio

import trioslock
from triopoll.core.log_wait import LogWait
from triopoll.core.outcomes import EventFired
from triopoll.core.poll_query import GroupSending, PollQuery, Sending
from triopoll.core.publisher import SetEvent, WakeGroup
from triopoll.core.wait_items import LogItem
from triopoll.ops.drain import Drain
from triopoll.ops.metrics import Metrics
from triopoll.pending import wait_in_task
from triopoll.services import open_services
from triopoll.settings import Settings, SettingsError
from triopoll.store import ALL, NewMessage
from trioslock import to_key

SECRET = "a-secret-of-services-0123456789-abcdefgh"


async def open_with(**settings: Any) -> None:
    chosen = Settings(slock_url="embedded://127.0.0.1:0", **settings)
    async with open_services(chosen, Drain(), Metrics()) as services:
        assert services.access.rules.tickets is None or settings


async def test_the_log_says_what_is_open(caplog: pytest.LogCaptureFixture) -> None:
    """Who forgot to configure keys or tickets reads it at the start."""
    with caplog.at_level(logging.WARNING, "triopoll"):
        await open_with()
    assert "publishing is served to programs on this machine only" in caplog.text
    assert "subscribing is open to everybody" in caplog.text


async def test_the_log_is_silent_when_all_is_closed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A warning that is always there is read by nobody."""
    key = f"shop:{'0' * 64}:*"
    with caplog.at_level(logging.WARNING, "triopoll"):
        await open_with(ticket_secrets=SECRET, publish_keys=key)
    assert caplog.text == ""


async def test_access_that_cannot_be_configured() -> None:
    """Nothing is opened then."""
    with pytest.raises(SettingsError, match="TRIOPOLL_TICKET_SECRETS"):
        await open_with(ticket_secrets="short")


async def test_retention_by_key(tmp_path: Path) -> None:
    """Rules are words, or the lines of a file; a bad one names the variable."""
    rules = tmp_path / "rules"
    rules.write_text("# of two kinds\nshort*:length=1\n\nother keys*:length=3\n")
    chosen = Settings(slock_url="embedded://127.0.0.1:0", retention=f"file:{rules}")
    async with open_services(chosen, Drain(), Metrics()) as services:
        for key, kept in (("short.1", 1), ("other keys", 3), ("third", 4)):
            await services.log.append([NewMessage(key, b"x") for _ in range(4)])
            assert len((await services.log.read(key, ALL, 9)).messages) == kept
    for bad in ("short*:length=0", f"file:{tmp_path}/absent"):
        with pytest.raises(SettingsError, match="TRIOPOLL_RETENTION"):
            await open_with(retention=bad)


async def test_presence_by_pattern(tmp_path: Path) -> None:
    """Keys are words, or the lines of a file; a bad one names the variable."""
    patterns = tmp_path / "patterns"
    patterns.write_text("# rooms\nchat/*\n\nalerts\n")
    chosen = Settings(slock_url="embedded://127.0.0.1:0", presence=f"file:{patterns}")
    metrics = Metrics()
    async with open_services(chosen, Drain(), metrics) as services:
        assert services.presence is not None
        kept = map(services.presence.keeps, ("chat/1", "alerts", "alerts2"))
        assert list(kept) == [True, True, False]
        wait = services.presence.attend(["alerts"], None)
        wait.begin()
        assert metrics.readings["presence_waits"]() == 1
    for bad in ("chat*x", f"file:{tmp_path}/absent"):
        with pytest.raises(SettingsError, match="TRIOPOLL_PRESENCE"):
            await open_with(presence=bad)


async def test_a_database_for_events(free_port: int) -> None:
    """Events and groups are in it; what clients do not name is in that of the URL."""
    url = f"embedded://127.0.0.1:{free_port}"
    settings = Settings(slock_url=url, slock_db=7)
    async with (
        open_services(settings, Drain(), Metrics()) as services,
        trioslock.open_client(f"slock://127.0.0.1:{free_port}/7") as events,
        trio.open_nursery() as nursery,
    ):
        drafts = [SetEvent("e", "clear", 60), WakeGroup("g")]
        await services.publisher.publish(drafts)
        await services.latest_messages.emit(Sending("f", "clear", 60, to_list=False))
        assert await services.group_messages.send(GroupSending("h", 60), b"1") == 1
        poll = PollQuery("d", "set", reset=True, timeout=1, lease=60)
        assert await services.poller.wait_event(poll) == EventFired()
        names = {to_key(name) for name in "defgh"}
        assert {held.key for held in await events.keys()} == names
        wait = await services.reader.begin_messages(LogItem("log", "new", 9), 60)
        assert isinstance(wait, LogWait)
        nursery.start_soon(wait_in_task, wait)
        while not (await events.db(0).state()).waiting:  # noqa: ASYNC110
            await trio.sleep(0.01)
        assert (await events.state()).waiting == 0
        nursery.cancel_scope.cancel()
