"""Revoking a ticket needs a line in a file, and no restart."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from tests.triopoll.access.asking import SECRET, reader
from tests.triopoll.support import eventually

from triopoll.access import TicketReader, follow_revoked
from triopoll.settings import settings_from


@asynccontextmanager
async def following(path: Path) -> AsyncIterator[TicketReader]:
    environ = {
        "TRIOPOLL_TICKET_SECRETS": SECRET,
        "TRIOPOLL_REVOKED_TICKETS": f"file:{path}",
    }
    tickets = reader()
    async with trio.open_nursery() as nursery:

        async def follow() -> None:
            await follow_revoked(settings_from(environ), tickets, interval=0.01)

        nursery.start_soon(follow)
        yield tickets
        nursery.cancel_scope.cancel()


async def test_each_way_to_change_a_file_is_noticed(tmp_path: Path) -> None:
    """Appending, replacing and rewriting the file are all detected."""
    path = tmp_path / "revoked"
    path.write_text("one\n")
    async with following(path) as tickets:
        await eventually(lambda: tickets.revoked == {"one"})
        with path.open("a") as file:
            file.write("two\n")
        await eventually(lambda: tickets.revoked == {"one", "two"})
        other = tmp_path / "other"
        other.write_text("six\nten\n")
        os.replace(other, path)
        await eventually(lambda: tickets.revoked == {"six", "ten"})


async def test_a_file_that_cannot_be_read_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Revoked tickets stay revoked; one log line; the file is read again later."""
    path = tmp_path / "revoked"
    path.write_text("one\n")
    with caplog.at_level(logging.ERROR, "triopoll.access"):
        async with following(path) as tickets:
            await eventually(lambda: tickets.revoked == {"one"})
            path.unlink()
            await eventually(lambda: caplog.records)
            await trio.sleep(0.05)
            assert len(caplog.records) == 1
            assert tickets.revoked == {"one"}
            path.write_text("two\n")
            await eventually(lambda: tickets.revoked == {"two"})
    assert "TRIOPOLL_REVOKED_TICKETS" in caplog.text


async def test_without_a_file_there_is_nothing_to_follow() -> None:
    """A list in the setting itself holds until the next start."""
    with trio.fail_after(1):
        await follow_revoked(settings_from({"TRIOPOLL_REVOKED_TICKETS": "a"}), reader())
