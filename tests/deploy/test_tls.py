"""Each way to TLS on the page about it answers a poll."""

from __future__ import annotations

import dataclasses
import http.client
import json
import ssl
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import trio
from tests.deploy.proxies import PROXIES, Proxy, make_certificates
from tests.documents import all_blocks
from tests.services import RedisServer, find_free_port
from tests.triopoll.inprocess import served
from tests.triopoll.service import Process, Service, ask, poll_process

PAGE = "docs/how-to/use-tls.md"
NAME = "poll.example"
MESSAGE = json.dumps({"key": "k", "data": "over TLS"})
POLL = "/v1/messages?key=k&cursor=all&timeout=10"
pytestmark = pytest.mark.long


class TLSService(Service):
    """One that answers over TLS only: that it listens must do."""

    def start(self) -> None:
        Process.start(self)


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    make_certificates(tmp_path)
    return tmp_path


def ask_over_tls(
    port: int, folder: Path, host: str, path: str, body: str | None = None
) -> str:
    """Send a request to the name in the certificate; return the body of the answer."""
    context = ssl.create_default_context(cafile=str(folder / f"{NAME}.pem"))
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.connect()
    with context.wrap_socket(connection.sock, server_hostname=NAME) as connection.sock:
        method = "GET" if body is None else "POST"
        connection.request(method, path, body, {"Host": host, "Connection": "close"})
        response = connection.getresponse()
        assert response.status == 200
        return response.read().decode()


def hypercorn_commands() -> list[str]:
    (block,) = (
        block
        for block in all_blocks()
        if block.page == PAGE and block.text.startswith("hypercorn")
    )
    return block.commands()


@pytest.mark.parametrize("command", hypercorn_commands())
def test_hypercorn_with_a_certificate(certificates: Path, command: str) -> None:
    words = command.replace("/etc/ssl", str(certificates)).split()
    words[words.index("--bind") + 1] = "127.0.0.1:PORT"
    env = {"TRIOPOLL_SLOCK_URL": f"embedded://127.0.0.1:{find_free_port()}"}
    with TLSService(words, env) as service:
        exchange = partial(ask_over_tls, service.port, certificates, "localhost")
        exchange("/v1/publish", MESSAGE)
        assert "over TLS" in exchange(POLL)
        plain = http.client.HTTPConnection("127.0.0.1", service.port, timeout=5)
        with pytest.raises((http.client.HTTPException, OSError)):
            plain.request("GET", "/livez")
            plain.getresponse()
        plain.close()


# What stands in a sample for its address, on a port of a test and with TLS.
WITH_TLS = {
    "proxies/nginx.conf": "127.0.0.1:PORT ssl http2;",
    "proxies/haproxy.cfg": "bind 127.0.0.1:PORT ssl",
    "proxies/Caddyfile": "{\n\tadmin off\n\tauto_https disable_redirects\n}\n"
    "https://poll.example:PORT {\n\tbind 127.0.0.1\n"
    "\ttls FOLDER/poll.example.pem FOLDER/poll.example.key",
}


@pytest.mark.parametrize("proxy", [p for p in PROXIES if p.sample in WITH_TLS], ids=str)
def test_a_proxy_with_its_sample(certificates: Path, proxy: Proxy) -> None:
    """Caddy, which gets its certificate itself, is given one here."""
    address = WITH_TLS[proxy.sample].replace("FOLDER", str(certificates))
    with_tls = dataclasses.replace(proxy, plain=address)
    with (
        poll_process(server="triopoll", trusted_proxies="127.0.0.1") as service,
        with_tls.running(certificates, service.port) as port,
    ):
        # Programs of this machine publish without a proxy.
        node = http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)
        node.request("POST", "/v1/publish", MESSAGE, {"Host": "localhost"})
        assert node.getresponse().status == 200
        node.close()
        assert "over TLS" in ask_over_tls(port, certificates, NAME, POLL)


@pytest.fixture
def redis_with_tls(certificates: Path) -> Iterator[RedisServer]:
    files = {"cert": f"{NAME}.pem", "key": f"{NAME}.key", "ca-cert": f"{NAME}.pem"}
    options = {f"tls-{kind}-file": str(certificates / n) for kind, n in files.items()}
    options |= {"tls-port": str(find_free_port()), "tls-auth-clients": "no"}
    server = RedisServer(certificates, options=options)
    server.start()
    yield server
    server.stop()


async def test_redis_with_tls(
    certificates: Path, redis_with_tls: RedisServer, free_port: int
) -> None:
    """Its certificate is checked, by a file that is read at each connection."""
    authority = certificates / "ca.pem"
    port = redis_with_tls.options["tls-port"]
    url = f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={authority}"
    (certificates / "other").mkdir()
    make_certificates(certificates / "other")
    right = (certificates / f"{NAME}.pem").read_bytes()
    authority.write_bytes((certificates / "other" / f"{NAME}.pem").read_bytes())
    async with served(free_port, redis_url=url) as (_, running):
        body = MESSAGE.encode()
        publish = partial(ask, running.port, "/v1/publish", method="POST", body=body)
        assert (await publish()).status == 503
        authority.write_bytes(right)
        with trio.fail_after(20):
            while (await publish()).status != 200:
                await trio.sleep(0.1)
