"""The pytest plugin of trioslock: fixtures for tests of code that uses slock.

pytest imports this module in each run of each project that has trioslock installed, and
before coverage is measured. So it stands apart from the package, and imports it only in
a fixture that is used.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from trioslock import Client, aio, sync
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
def slock_aio_client(request: pytest.FixtureRequest) -> aio.Client:
    """An asyncio client of slock_server (pytest-asyncio, or anyio's plugin)."""
    if "anyio_backend" in request.fixturenames:
        plugin = "anyio"
    elif request.config.pluginmanager.hasplugin("asyncio"):
        plugin = "asyncio"
    else:
        pytest.fail(
            "slock_aio_client needs pytest-asyncio, or a test of anyio's plugin",
            pytrace=False,
        )
    client: aio.Client = request.getfixturevalue(f"_slock_aio_client_of_{plugin}")
    return client


@pytest.fixture
async def _slock_aio_client_of_anyio(
    slock_server: SlockServer,
) -> AsyncIterator[aio.Client]:
    async with _open_aio_client(slock_server) as client:
        yield client


def pytest_configure(config: pytest.Config) -> None:
    """Make the fixture of pytest-asyncio, which has to be marked by its decorator."""
    if not config.pluginmanager.hasplugin("asyncio"):
        return
    import pytest_asyncio  # noqa: PLC0415 - loaded already

    class Fixtures:
        @pytest_asyncio.fixture
        async def _slock_aio_client_of_asyncio(
            self, slock_server: SlockServer
        ) -> AsyncIterator[aio.Client]:
            async with _open_aio_client(slock_server) as client:
                yield client

    config.pluginmanager.register(Fixtures(), "trioslock_asyncio")


@asynccontextmanager
async def _open_aio_client(slock_server: SlockServer) -> AsyncGenerator[aio.Client]:
    from trioslock import aio  # noqa: PLC0415

    async with aio.open_client(slock_server.url) as client:
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
