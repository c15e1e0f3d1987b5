"""What the tests of triopoll share: a Redis to break, and no secret in any log."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.services import RedisServer
from tests.triopoll.leaks import LeakWatch


@pytest.fixture(autouse=True)
def no_leaks() -> Iterator[None]:
    """Fail a test in which a secret or data of a state was logged."""
    watch = LeakWatch()
    root = logging.getLogger()
    root.addHandler(watch)
    yield
    root.removeHandler(watch)
    assert watch.found == []


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis of the test's own, to be broken."""
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.kill()
