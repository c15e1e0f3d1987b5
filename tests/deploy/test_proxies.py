"""triopoll behind each proxy, with the configuration that `deploy/` has for it."""

from __future__ import annotations

import itertools
import os
import re
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import (
    AsyncExitStack,
    ExitStack,
    asynccontextmanager,
    contextmanager,
)
from pathlib import Path
from typing import Any

import pytest
import trio
from tests.deploy.proxies import PROXIES, SAMPLES, Proxy
from tests.services import find_free_port
from tests.triopoll.event_stream import EventReader, Receiver
from tests.triopoll.http.test_websockets import hear, say
from tests.triopoll.service import Process, Request, Service, ask, requesting
from tests.triopoll.support import open_websocket

from triopoll.app import Triopoll
from triopoll.server import ServerSettings
from triopoll.settings import Settings
from triopoll.testing import TriopollServer, open_settings, open_triopoll_server

WAITS_OF_ONE_ADDRESS = 2


@pytest.fixture(scope="module")
def service() -> Iterator[TriopollServer]:
    """A node. The proxies are trusted, and so are no clients but those at 127.0.0.1."""
    limits: dict[str, Any] = {"waits_per_ip": WAITS_OF_ONE_ADDRESS}
    with (
        open_settings(trusted_proxies="127.0.0.1", **limits) as settings,
        open_triopoll_server(Triopoll(settings), settings) as server,
    ):
        yield server


@pytest.fixture(scope="module", params=PROXIES, ids=str)
def proxy(
    request: pytest.FixtureRequest,
    service: TriopollServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[int]:
    """The port of a proxy before the node, and before one that is down."""
    folder = tmp_path_factory.mktemp("proxy")
    with request.param.running(folder, service.port) as port:
        yield port


async def parked(service: TriopollServer) -> int:
    """Return how many waits are parked at the node."""
    text = (await ask(service.port, "/metrics")).body.decode()
    found = re.findall(r"^triopoll_waits_parked{.*} (\S+)$", text, re.MULTILINE)
    return sum(int(float(number)) for number in found)


async def until_parked(service: TriopollServer, count: int, limit: float = 30) -> None:
    with trio.fail_after(limit):
        while await parked(service) != count:
            await trio.sleep(0.01)


async def publish(service: TriopollServer, key: str, data: object) -> None:
    await trio.to_thread.run_sync(service.publish, key, data)


@asynccontextmanager
async def polling(
    port: int, client: str, seconds: float = 30
) -> AsyncIterator[Request]:
    """Poll from an address of this machine, and pretend to have another one."""
    async with await trio.open_tcp_stream(
        "127.0.0.1", port, local_address=client
    ) as stream:
        query = f"key=address&cursor=new&timeout={seconds}"
        await stream.send_all(
            f"GET /v1/messages?{query} HTTP/1.1\r\n"
            "Host: localhost\r\nConnection: close\r\n"
            "X-Forwarded-For: 203.0.113.9\r\n\r\n".encode()
        )
        yield Request(stream)


@pytest.mark.parametrize("each", PROXIES, ids=str)
async def test_a_node_that_is_down_costs_no_request(
    service: TriopollServer, each: Proxy, tmp_path: Path
) -> None:
    """Also until the proxy has noticed it: the other node gets them."""
    with each.running(tmp_path, service.port, checks_nodes=False) as port:
        for _ in range(4):
            answer = await ask(port, "/poll/event", event="down", timeout="0.01")
            assert (answer.status, answer.json["err_code"]) == (200, 504)


@contextmanager
def machine_that_is_off() -> Iterator[int]:
    """A port whose connections are neither accepted nor refused: its queue is full."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


@pytest.mark.long
@pytest.mark.parametrize("each", PROXIES, ids=str)
async def test_a_machine_that_is_off_costs_no_request(
    service: TriopollServer, each: Proxy, tmp_path: Path
) -> None:
    """Also where the proxy has not noticed it: only the time of a connection."""
    with (
        machine_that_is_off() as off,
        each.running(tmp_path, service.port, off, checks_nodes=False) as port,
    ):
        for _ in range(4):
            answer = await ask(port, "/poll/event", event="off", timeout="0.01")
            assert (answer.status, answer.json["err_code"]) == (200, 504)


async def answer_all_but_the_first(listener: trio.SocketListener) -> None:
    """Be a node, one of whose workers is killed with its connection."""
    for n in itertools.count():
        async with await listener.accept() as stream:
            await stream.receive_some()
            if n:
                await stream.send_all(
                    b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n"
                    b"Connection: close\r\n\r\nnull"
                )


@pytest.mark.parametrize("each", PROXIES, ids=str)
async def test_a_worker_that_dies_does_not_take_its_node_out_of_service(
    each: Proxy, tmp_path: Path
) -> None:
    """Not even while the other node is down: nginx would count it as a failure."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener, trio.open_nursery() as nursery:
        nursery.start_soon(answer_all_but_the_first, listener)
        node = listener.socket.getsockname()[1]
        with each.running(tmp_path, node, checks_nodes=False) as port:
            await ask(port, "/v1/")
            assert (await ask(port, "/v1/")).status == 200
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("path", ["/metrics", "/readyz", "/livez", "/docs"])
async def test_what_is_for_the_operator_does_not_pass(proxy: int, path: str) -> None:
    assert (await ask(proxy, path)).status == 404


async def test_a_client_that_leaves_ends_its_wait(
    service: TriopollServer, proxy: int
) -> None:
    async with requesting(proxy, "/poll/event", event="leaves", timeout=300):
        await until_parked(service, 1)
    await until_parked(service, 0)


async def test_events_pass_one_by_one(service: TriopollServer, proxy: int) -> None:
    """Each reaches its reader before the next one is sent, the first one at once."""
    async with await trio.open_tcp_stream("127.0.0.1", proxy) as stream:
        reader = EventReader(stream, Receiver())
        head = await reader.ask("/v1/messages?live=sse&key=events&cursor=new", {})
        assert (head.status_code, head.http_version) == (200, b"1.1")
        await next_of(reader, "cursor")
        for text in ("one", "two"):
            await publish(service, "events", text)
            assert f'"{text}"' in await next_of(reader, "message")
    await until_parked(service, 0)


async def next_of(reader: EventReader, kind: str) -> str:
    """Return the data of the next event of a kind."""
    while (event := await reader.next()) is not None:
        if event.type == kind:
            return event.data
    raise AssertionError(f"the events end without {kind!r}")


async def test_a_websocket_passes(service: TriopollServer, proxy: int) -> None:
    """Both ways, and its end too."""
    async with open_websocket(proxy, "/v1/ws", {}) as websocket:
        assert (await hear(websocket))["type"] == "hello"
        await say(websocket, type="subscribe", messages=[{"key": "socket"}])
        assert (await hear(websocket))["type"] == "subscribed"
        await publish(service, "socket", "one")
        page = await hear(websocket)
        assert [message["data"] for message in page["messages"]] == ["one"]
    await until_parked(service, 0)


async def test_limits_are_counted_for_each_client(
    service: TriopollServer, proxy: int
) -> None:
    """By the address that the proxy sends; not by its own, and by no other header."""
    async with polling(proxy, "127.0.0.2"), polling(proxy, "127.0.0.2"):
        await until_parked(service, WAITS_OF_ONE_ADDRESS)
        async with polling(proxy, "127.0.0.2") as refused:
            assert (await refused.answer()).status == 429
        async with polling(proxy, "127.0.0.3", 0.01) as other:
            assert (await other.answer()).status == 200
    await until_parked(service, 0)


@pytest.mark.long
@pytest.mark.parametrize(
    "each", [each for each in PROXIES if each.name != "nginx"], ids=str
)
async def test_no_new_client_gets_to_a_node_that_drains(
    each: Proxy, tmp_path: Path
) -> None:
    """The proxy learns it from /readyz, while the node still answers."""
    with (
        node() as leaving,
        node() as staying,
        each.running(tmp_path, leaving.port, staying.port) as port,
    ):
        os.kill(leaving.pid, signal.SIGTERM)
        with trio.fail_after(60):
            while (before := await answered(leaving)) != await answered(leaving, port):
                await trio.sleep(0.1)
        assert before == await answered(leaving)
        assert (await ask(leaving.port, "/readyz")).status == 503
        for each_node in (leaving, staying):
            each_node.kill()


def node() -> Process:
    """A node as a process of its own, not started yet. It drains for a long time."""
    command = ["triopoll", "serve", "--drain-delay", "120", "--bind", "127.0.0.1:PORT"]
    slock = f"embedded://127.0.0.1:{find_free_port()}"
    return Service(command, {"TRIOPOLL_SLOCK_URL": slock})


async def answered(service: Process, port: int | None = None) -> int:
    """Return how many polls a node has answered, after some through a proxy."""
    for _ in range(8 if port else 0):
        assert (await ask(port or 0, "/poll/event", event="e", timeout=0)).status == 200
    text = (await ask(service.port, "/metrics")).body.decode()
    pattern = r'^triopoll_answers_total{path="/poll/event",.*} (\d+)'
    return sum(map(int, re.findall(pattern, text, re.MULTILINE)))


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_a_poll_outlasts_the_time_of_an_idle_connection(tmp_path: Path) -> None:
    """65 s: above the 60 s of nginx and others, behind all of them at once."""
    async with AsyncExitStack() as stack:
        settings = stack.enter_context(open_settings())
        service = stack.enter_context(
            open_triopoll_server(Triopoll(settings), settings)
        )
        requests: list[Request] = []
        for number, each in enumerate(PROXIES):
            folder = tmp_path / str(number)
            folder.mkdir()
            port = stack.enter_context(each.running(folder, service.port))
            poll = requesting(port, "/poll/event", event="outlasts", timeout=65)
            requests.append(await stack.enter_async_context(poll))
        await until_parked(service, len(PROXIES))
        await until_parked(service, 0, limit=100)
        for request in requests:
            assert (await request.answer()).json["err_code"] == 504


@pytest.mark.parametrize("each", PROXIES, ids=str)
def test_the_proxy_accepts_its_sample(each: Proxy, tmp_path: Path) -> None:
    """It knows each directive, with TLS as in the sample, and refuses another one."""
    code, errors = each.checking(lambda text: text, tmp_path)
    assert code == 0, errors
    code, errors = each.checking(
        lambda text: f"unknown {{\nunknown\n}}\n{text}", tmp_path
    )
    assert code != 0


# What each sample sets as a limit for a response that does not begin.
RESPONSE_TIMES = {
    "nginx-triopoll.conf": (r"proxy_read_timeout (\d+)s;",),
    "haproxy.cfg": (r"timeout client (\d+)s", r"timeout server (\d+)s"),
    "traefik.yaml": (r"readTimeout: (\d+)s",),
}


@pytest.mark.parametrize("name", RESPONSE_TIMES)
def test_the_longest_poll_is_shorter_than_the_times_of_a_proxy(name: str) -> None:
    for pattern in RESPONSE_TIMES[name]:
        (seconds,) = re.findall(pattern, (SAMPLES / name).read_text())
        assert int(seconds) > Settings().max_timeout + 5


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("haproxy.cfg", r"check inter (\d+)s fall 1 "),
        ("Caddyfile", r"health_interval (\d+)s"),
        ("traefik-dynamic.yaml", r"interval: (\d+)s"),
    ],
)
def test_a_node_that_drains_is_found_within_half_of_its_delay(
    name: str, pattern: str
) -> None:
    (seconds,) = re.findall(pattern, (SAMPLES / name).read_text())
    assert int(seconds) < ServerSettings().drain_delay / 2


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("haproxy.cfg", r"timeout tunnel +(\d+)s"),
        ("Caddyfile", r"keepalive (\d+)s"),
        ("traefik-dynamic.yaml", r"idleConnTimeout: (\d+)s"),
    ],
)
def test_idle_times_fit(name: str, pattern: str) -> None:
    """The proxy closes idle connections first; websockets are never that long idle."""
    (seconds,) = re.findall(pattern, (SAMPLES / name).read_text())
    server = ServerSettings()
    assert server.websocket_ping * 2 < int(seconds) < server.keep_alive
