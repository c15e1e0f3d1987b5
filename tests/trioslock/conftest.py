"""Every test that takes ``backend`` runs over all of them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.trioslock.backends import Backend, MemoryBackend, open_backend
from trio.testing import MockClock

from trioslock.client import Client
from trioslock.primitives import _scope_pool


@pytest.fixture(
    params=[
        "embedded",
        "memory",
        "memory, scopes of trio",
        "tcp",
        pytest.param("live", marks=pytest.mark.live),
    ]
)
def backend_choice(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> tuple[str, tuple[str, int] | None]:
    if request.param == "live":
        return "live", request.getfixturevalue("slock_address")
    if request.param.endswith("scopes of trio"):
        monkeypatch.setattr(_scope_pool, "_reuse", False)
    return request.param.partition(",")[0], None


@pytest.fixture(params=["reused", "of trio"])
def scopes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With scopes that are used again, and with trio's own alone."""
    if request.param == "of trio":
        monkeypatch.setattr(_scope_pool, "_reuse", False)
    return str(request.param)


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


@pytest.fixture
async def memory(autojump_clock: MockClock) -> AsyncIterator[MemoryBackend]:
    """Virtual time: hours pass at once."""
    async with open_backend("memory") as backend:
        assert isinstance(backend, MemoryBackend)
        yield backend
