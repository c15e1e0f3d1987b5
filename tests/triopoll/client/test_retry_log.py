"""What is repeated is logged once, and once more when it works."""

from __future__ import annotations

import logging

import pytest
import trio
from trio.testing import MockClock

from triopoll.client._errors import ConnectFailed, ServerBusy
from triopoll.client._retry_log import RetryLog


async def test_the_first_failure_of_each_kind_is_a_warning(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """The others are of level INFO, until the operation has worked."""
    caplog.set_level(logging.INFO, "triopoll.client")
    log = RetryLog("reading 'k'")
    log.worked()
    for _ in range(3):
        log.failed(ConnectFailed("refused"), 0.5)
        await trio.sleep(2)
    log.failed(ServerBusy("full", 1.0), 1.5)
    log.worked()
    log.worked()
    log.failed(ConnectFailed("refused"), 0.25)
    assert [(each.levelname, each.getMessage()) for each in caplog.records] == [
        ("WARNING", _failed("refused", 0.5)),
        ("INFO", _failed("refused", 0.5)),
        ("INFO", _failed("refused", 0.5)),
        ("WARNING", _failed("full", 1.5)),
        ("WARNING", "reading 'k' works again after 6.0 s and 4 failed attempts"),
        ("WARNING", _failed("refused", 0.2)),
    ]


def _failed(why: str, delay: float) -> str:
    return f"reading 'k' failed: {why}; the next attempt follows in {delay:.1f} s"
