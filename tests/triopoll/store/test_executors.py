"""Redis over TLS and over a socket file, with the real thing on the other side."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.redis_rigs import (
    Certificates,
    Resolver,
    make_certificates,
    socket_server,
    tls_server,
)
from tests.services import RedisServer

from triopoll.store import (
    ALL,
    NewMessage,
    StoreUnreachable,
    open_stores,
)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, certificates: Certificates
) -> Iterator[RedisServer]:
    """One that talks TLS only, to clients that have a certificate."""
    with tls_server(tmp_path_factory.mktemp("tls"), certificates) as server:
        yield server


def query(certificates: Certificates, *, client: bool = True) -> str:
    options = [f"ssl_ca_certs={certificates.authority}"]
    if client:
        certificate, secret = certificates.client
        options += [f"ssl_certfile={certificate}", f"ssl_keyfile={secret}"]
    return "&".join(options)


async def use(url: str, key: str) -> None:
    """Push, pop, publish and read."""
    async with open_stores(url, limit=3) as stores:
        await stores.lists.push(key, b"1" * 100_000)
        delivery = await stores.lists.pop(key)
        assert delivery is not None
        assert len(delivery.data) == 100_000
        stores.lists.ack(delivery)
        await stores.log.append([NewMessage(key, b"1")])
        assert len((await stores.log.read(key, ALL, 1)).messages) == 1
        await stores.lists.ping()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_tls(
    server: RedisServer, certificates: Certificates, key: str, host: str
) -> None:
    """Both sides check the other's certificate, and the name in it."""
    await use(f"rediss://{host}:{server.port}/1?{query(certificates)}", key)


async def test_an_authority_that_is_not_known(
    server: RedisServer, certificates: Certificates, key: str
) -> None:
    """Nothing is sent to a server that cannot prove who it is."""
    with pytest.raises(StoreUnreachable, match="certificate verify failed"):
        await use(f"rediss://localhost:{server.port}", key)
    if_it_must_be = f"{query(certificates)}&ssl_cert_reqs=none"
    await use(
        f"rediss://localhost:{server.port}?{if_it_must_be}&ssl_check_hostname=false",
        key,
    )


async def test_another_name(
    server: RedisServer, certificates: Certificates, resolver: Resolver, key: str
) -> None:
    """A certificate for another host is none for this one."""
    resolver.ports["redis.test"] = server.port
    with pytest.raises(StoreUnreachable, match="Hostname mismatch"):
        await use(f"rediss://redis.test:1?{query(certificates)}", key)


async def test_without_a_certificate(
    server: RedisServer, certificates: Certificates, key: str
) -> None:
    """A server that asks for one serves nothing."""
    options = query(certificates, client=False)
    with pytest.raises(StoreUnreachable):
        await use(f"rediss://localhost:{server.port}?{options}", key)


async def test_plain_where_tls_is_spoken(server: RedisServer, key: str) -> None:
    """It is an outage, not a wait."""
    with pytest.raises(StoreUnreachable):
        await use(f"redis://localhost:{server.port}", key)


async def test_a_socket_file(tmp_path: Path, key: str) -> None:
    """With a database behind."""
    with socket_server(tmp_path) as path:
        await use(f"unix://{path}?db=3", key)


async def test_no_socket_file(tmp_path: Path, key: str) -> None:
    """It is an outage, and may come."""
    with pytest.raises(StoreUnreachable, match="No such file"):
        await use(f"unix://{tmp_path}/none", key)
