"""One service a kind of server, shared by the tests that leave it as it was."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from tests.services import RedisServer
from tests.triopoll.services import Service, running


@pytest.fixture(scope="session", params=["hypercorn", "triopoll"])
def service(
    request: pytest.FixtureRequest, redis_server: RedisServer
) -> Iterator[Service]:
    """The service on an embedded engine and a real Redis, under either server."""
    with running(request.param, REDIS_URL=redis_server.url) as service:
        yield service


@pytest.fixture
def key() -> str:
    """A key that no other test uses."""
    return f"key-{uuid.uuid4().hex[:12]}"
