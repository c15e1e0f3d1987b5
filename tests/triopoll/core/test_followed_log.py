"""The place of a reader in a log, and the reads that many of them share."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from triopoll.core.followed_log import FollowedLog
from triopoll.core.log_notifier import Wake
from triopoll.core.outcomes import Failure, OperationFailed
from triopoll.core.wait_items import ReadResult
from triopoll.store import Page, StoredMessage

MESSAGE = StoredMessage("c1", b"1", 2.0)
PAGES = {"new": ReadResult(Page((MESSAGE,), "c1")), "c1": ReadResult(Page((), "c1"))}


class Log:
    """Counts the reads of a log, and wakes its readers by one wake."""

    def __init__(self) -> None:
        self.reads: list[tuple[Any, ...]] = []
        self.last_wake = Wake()
        self.failure: Failure | None = None

    async def read(self, *question: Any) -> ReadResult | Failure:
        await trio.lowlevel.checkpoint()
        self.reads.append(question)
        return self.failure or PAGES[question[1]]

    async def wait(self, read: Any) -> dict[str, Wake]:
        await trio.lowlevel.checkpoint()
        assert read.args[:2] == ("k", "c1")
        return {"k": self.last_wake}

    def followed(self) -> FollowedLog:
        subscription: Any = self
        return FollowedLog("k", "new", 9, 5.0, subscription, self.read)


async def test_a_reader_moves_through_its_log() -> None:
    """Only the first cursor is the client's own; behind an empty page is the end."""
    log = Log()
    followed = log.followed()
    assert await followed.read() is PAGES["new"]
    assert (followed.cursor, followed.at_end) == ("c1", False)
    assert await followed.read() is PAGES["c1"]
    assert followed.at_end
    assert log.reads == [
        ("k", "new", 9, 5.0, 1, True),
        ("k", "c1", 9, 5.0, 1, False),
    ]
    await followed.wait()
    assert not followed.at_end


async def test_readers_share_the_reads_behind_a_wake() -> None:
    """Those at the same place."""
    log = Log()
    both = [log.followed(), log.followed()]
    for followed in both:
        await followed.read()
        await followed.wait()
    log.reads.clear()
    for followed in both:
        assert await followed.read() is PAGES["c1"]
    assert len(log.reads) == 1


async def test_a_log_that_cannot_be_read() -> None:
    """The place stays what it was."""
    log = Log()
    log.failure = Failure.STORE_UNREACHABLE
    followed = log.followed()
    with pytest.raises(OperationFailed):
        await followed.read()
    assert (followed.cursor, followed.is_acked) == ("new", True)
