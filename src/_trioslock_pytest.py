"""The pytest plugin of trioslock: fixtures for tests of code that uses slock.

pytest imports this module in each run of each project that has trioslock installed, and
before coverage is measured. So it stands apart from the package, and imports it only in
a fixture that is used.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from trioslock import Client, sync
    from trioslock.testing import Network, SlockServer


@pytest.fixture
def slock_server() -> Iterator[SlockServer]:
    """A new slock server on a free port; its `url` is for every kind of client."""
    from trioslock.testing import open_slock_server  # noqa: PLC0415

    with open_slock_server() as server:
        yield server


@pytest.fixture(scope="session")
def slock_session_server() -> Iterator[SlockServer]:
    """One slock server for all tests of the session, which use keys of their own."""
    from trioslock.testing import open_slock_server  # noqa: PLC0415

    with open_slock_server() as server:
        yield server


@pytest.fixture
async def slock_client(
    slock_server: SlockServer, request: pytest.FixtureRequest
) -> AsyncIterator[Client]:
    """A client of slock_server in a trio test (pytest-trio, or anyio's plugin)."""
    if "mock_clock" in request.fixturenames or "autojump_clock" in request.fixturenames:
        pytest.fail(
            "slock_client is connected over TCP, and a mock clock does not wait for "
            "TCP: use slock_network.open_client()",
            pytrace=False,
        )
    async with slock_server.open_client() as client:
        try:
            yield client
        finally:
            # The end of the client must not wait for a server that is frozen.
            slock_server.heal()


@pytest.fixture
def slock_sync_client(slock_server: SlockServer) -> Iterator[sync.Client]:
    """A blocking client of slock_server."""
    from trioslock import sync  # noqa: PLC0415

    with sync.open_client(slock_server.url) as client:
        try:
            yield client
        finally:
            slock_server.heal()


@pytest.fixture
async def slock_network() -> AsyncIterator[Network]:
    """A slock server in the trio run of the test, over memory streams."""
    from trioslock.testing import open_network  # noqa: PLC0415

    async with open_network() as network:
        yield network
