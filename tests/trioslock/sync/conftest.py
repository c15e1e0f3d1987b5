"""A server in a thread, and blocking clients of it; or a real server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from trioslock import sync
from trioslock.testing import SlockServer, open_slock_server


@pytest.fixture
def server() -> Iterator[SlockServer]:
    with open_slock_server() as opened:
        yield opened


@pytest.fixture(params=["embedded", pytest.param("live", marks=pytest.mark.live)])
def url(request: pytest.FixtureRequest) -> str:
    if request.param == "live":
        host, port = request.getfixturevalue("slock_address")
        return f"slock://{host}:{port}"
    server: SlockServer = request.getfixturevalue("server")
    return server.url


@pytest.fixture
def client(url: str) -> Iterator[sync.Client]:
    with sync.open_client(url) as opened:
        yield opened


@pytest.fixture
def key(request: pytest.FixtureRequest) -> str:
    """A key of the test's own: a real server serves all of them."""
    return request.node.nodeid
