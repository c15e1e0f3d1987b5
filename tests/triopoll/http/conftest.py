"""Processes that the tests of a module share: a slock server and the service."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator

import pytest
import redis
from tests.services import RedisServer
from tests.triopoll.service import SERVERS, Process, poll_process, slock_process

import trioslock

# Of a real slock: one that others of its users will hardly be in, as waits are counted.
REAL_DATABASE = "/113"


@pytest.fixture
def key() -> str:
    """Return a key that no other test uses."""
    return f"key-{uuid.uuid4().hex}"


@pytest.fixture(
    scope="session", params=["trioslock", pytest.param("slock", marks=pytest.mark.live)]
)
def slock_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of the embedded server, or of a real one if its address is given."""
    if request.param == "slock":
        host, port = request.getfixturevalue("slock_address")
        yield f"slock://{host}:{port}{REAL_DATABASE}"
        return
    with slock_process() as server:
        yield f"slock://127.0.0.1:{server.port}"


@pytest.fixture(scope="session", params=SERVERS)
def service(
    request: pytest.FixtureRequest, slock_url: str, redis_server: RedisServer
) -> Iterator[Process]:
    """The service under each server, on real backends."""
    server = request.param
    with poll_process(slock=slock_url, redis=redis_server.url, server=server) as it:
        yield it


@pytest.fixture
def redis_client(redis_server: RedisServer) -> Iterator[redis.Redis]:
    with redis.Redis(port=redis_server.port) as client:
        yield client


@pytest.fixture
async def slock(slock_url: str) -> AsyncIterator[trioslock.Client]:
    """A client of the slock server, as a publisher."""
    async with trioslock.open_client(slock_url) as client:
        yield client
