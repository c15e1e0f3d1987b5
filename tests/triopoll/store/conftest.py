"""What the tests of stores share: one suite runs over several kinds of Redis."""

from __future__ import annotations

import socket
import uuid
from collections.abc import Iterator

import pytest
import redis
from tests.redis_rigs import ClusterRig, Resolver
from tests.services import RedisServer

KINDS = ("memory", "redis", "cluster")


@pytest.fixture
def key() -> str:
    """A key that no other test uses."""
    return f"key-{uuid.uuid4().hex}"


@pytest.fixture
def server(own_redis: RedisServer) -> RedisServer:
    """Return the Redis of the test's own, to be broken."""
    return own_redis


@pytest.fixture
def admin(server: RedisServer) -> Iterator[redis.Redis]:
    """A client of that Redis."""
    with redis.Redis(port=server.port) as client:
        yield client


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Resolver:
    """Names of a test's own, which it may move to another server."""
    resolver = Resolver()
    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    return resolver


@pytest.fixture(scope="session")
def redis_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterRig]:
    """A cluster, shared by all tests: use keys of your own, and break nothing."""
    with ClusterRig(tmp_path_factory.mktemp("cluster")) as rig:
        yield rig


@pytest.fixture(params=KINDS)
def store_url(request: pytest.FixtureRequest) -> str:
    """The URL of each kind of store."""
    if request.param == "memory":
        return "memory://"
    if request.param == "cluster":
        rig: ClusterRig = request.getfixturevalue("redis_cluster")
        return rig.url
    server: RedisServer = request.getfixturevalue("redis_server")
    return server.url
