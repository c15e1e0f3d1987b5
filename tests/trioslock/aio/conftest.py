"""Programs of asyncio against a server in another thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
import uvloop
from tests.trioslock.outside import Outside, open_outside

Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture(params=["tcp", pytest.param("live", marks=pytest.mark.live)])
def outside(request: pytest.FixtureRequest) -> Iterator[Outside]:
    """A server, as programs outside of trio see it."""
    live = request.param == "live"
    address = request.getfixturevalue("slock_address") if live else None
    with open_outside(address) as opened:
        yield opened


@pytest.fixture(
    params=[
        "asyncio",
        "uvloop",
        pytest.param("asyncio, debug", marks=pytest.mark.long),
    ]
)
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    """Run a coroutine on each kind of loop."""
    factory = uvloop.new_event_loop if request.param == "uvloop" else None
    debug = request.param.endswith("debug")
    with asyncio.Runner(debug=debug, loop_factory=factory) as runner:
        yield runner.run
