"""What the tests of calls across two loops share."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Iterator

import pytest
import uvloop
from tests.triopoll.asgi.asyncio_server import Run


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
