"""Every test that takes ``backend`` runs over all of them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.trioslock.backends import Backend, open_backend

from trioslock.client import Client


@pytest.fixture(
    params=["embedded", "memory", "tcp", pytest.param("live", marks=pytest.mark.live)]
)
def backend_choice(
    request: pytest.FixtureRequest,
) -> tuple[str, tuple[str, int] | None]:
    if request.param == "live":
        return "live", request.getfixturevalue("slock_address")
    return request.param, None


@pytest.fixture
async def backend(
    backend_choice: tuple[str, tuple[str, int] | None],
) -> AsyncIterator[Backend]:
    async with open_backend(*backend_choice) as opened:
        yield opened


@pytest.fixture
async def client(backend: Backend) -> AsyncIterator[Client]:
    async with backend.open_client() as opened:
        yield opened


@pytest.fixture
async def other(backend: Backend) -> AsyncIterator[Client]:
    """A second client of the same server."""
    async with backend.open_client() as opened:
        yield opened
