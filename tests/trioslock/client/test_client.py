from __future__ import annotations

import pytest
import trio
from tests.trioslock.link.fake_set import ADDRESSES, FakeSet
from trio.testing import MockClock, open_stream_to_socket_listener

from trioslock import (
    Backoff,
    ConnectionLost,
    NoLeader,
    RemoteProtocolError,
    open_client,
)
from trioslock.client import _client, open_session_client
from trioslock.link import SessionSettings, connector
from trioslock.protocol import CommandType, InitResult, PlainResult, encode_result
from trioslock.server import open_server
from trioslock.testing import open_network
from trioslock.transport import StreamTransport


async def test_a_client_of_a_server_over_tcp() -> None:
    async with open_server(port=0) as server:
        url = f"slock://127.0.0.1:{server.port}/7"
        async with open_client(url, client_id=bytes(range(16))) as client:
            assert client.client_id == bytes(range(16))
            assert client.number == 7
            assert client.db(9).number == 9
            assert 0 <= await client.ping() < 5
            await client.wait_connected()
            assert "database 7" in repr(client)
            assert "Database 9" in repr(client.db(9))
            async with client.lock("k"):
                assert not await client.db(8).lock("k").locked()
                assert client.statistics().held == 1
        await trio.testing.wait_all_tasks_blocked()
        assert server.statistics().connections <= 1


async def test_a_port_without_a_listener(free_port: int) -> None:
    with pytest.raises(ConnectionLost, match="cannot connect") as caught:
        async with open_client(f"slock://127.0.0.1:{free_port}"):
            pytest.fail("the body must not run")
    assert isinstance(caught.value.__cause__, OSError)


async def test_a_client_may_open_before_its_server(
    autojump_clock: MockClock,
) -> None:
    async with open_network() as network:
        network.down()
        async with network.open_client(wait_connected=False) as client:
            assert not client.statistics().connected
            async with trio.open_nursery() as nursery:
                nursery.start_soon(client.wait_connected)
                await trio.sleep(1)
                network.up()
            async with client.lock("k"):
                pass


async def test_a_server_that_never_answers(autojump_clock: MockClock) -> None:
    """The handshake has its limit, and leaves no connection behind."""
    streams = []

    async def open_transport() -> StreamTransport:
        await trio.lowlevel.checkpoint()
        ours, theirs = trio.testing.memory_stream_pair()
        streams.append(theirs)
        return StreamTransport(ours)

    settings = SessionSettings(bytes(16), connect_timeout=3, backoff=None)
    connect = connector(open_transport, heartbeat=5)
    started_at = trio.current_time()
    with pytest.raises(ConnectionLost):
        async with open_session_client(connect, settings):
            pytest.fail("the body must not run")
    assert trio.current_time() - started_at == pytest.approx(3, abs=0.01)
    (theirs,) = streams
    assert len(await theirs.receive_some()) == 64
    assert await theirs.receive_some() == b""


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (b"", ConnectionLost),
        (bytes(64), RemoteProtocolError),
        (b"-ERR Unknown Command\r\n" * 4, RemoteProtocolError),
        (encode_result(InitResult(bytes(16), 10, 2)), NoLeader),
        (
            encode_result(PlainResult(int(CommandType.PING), bytes(16), 0)),
            RemoteProtocolError,
        ),
    ],
)
async def test_an_answer_to_the_handshake_that_is_none(
    answer: bytes, cause: type[Exception]
) -> None:
    async def open_transport() -> StreamTransport:
        await trio.lowlevel.checkpoint()
        ours, theirs = trio.testing.memory_stream_pair()
        if answer:
            await theirs.send_all(answer)
        else:
            await theirs.send_eof()
        return StreamTransport(ours)

    settings = SessionSettings(bytes(16), backoff=None)
    with pytest.raises(ConnectionLost, match="cannot connect") as caught:
        async with open_session_client(
            connector(open_transport, heartbeat=5), settings
        ):
            pytest.fail("the body must not run")
    assert isinstance(caught.value.__cause__, cause)


async def test_the_bodys_error_leaves_as_it_is(autojump_clock: MockClock) -> None:
    """Not in a group, although there are tasks around it."""
    async with open_network() as network:
        with pytest.raises(ValueError, match="mine"):
            async with network.open_client():
                raise ValueError("mine")


async def test_a_cancelled_body_settles_before_it_leaves(
    autojump_clock: MockClock,
) -> None:
    async with open_network() as network:
        with trio.move_on_after(1) as scope:
            async with network.open_client() as client:
                await client.lock("k").acquire()
                await trio.sleep_forever()
        assert scope.cancelled_caught
        assert network.server.host_engine.engine.statistics().holders == 0


async def test_entering_can_be_cancelled(autojump_clock: MockClock) -> None:
    """The attempt to connect ends with it, and so do all tasks."""
    stuck = trio.Event()

    async def open_transport() -> StreamTransport:
        try:
            await trio.sleep_forever()
        finally:
            stuck.set()
        raise AssertionError

    settings = SessionSettings(bytes(16), connect_timeout=60)
    with trio.move_on_after(1) as scope:
        async with open_session_client(
            connector(open_transport, heartbeat=5), settings
        ):
            pytest.fail("the body must not run")
    assert scope.cancelled_caught
    assert stuck.is_set()
    with trio.move_on_after(0) as scope:
        async with open_session_client(
            connector(open_transport, heartbeat=5), settings, wait_connected=False
        ):
            pytest.fail("the body must not run")
    assert scope.cancelled_caught


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"heartbeat": 0}, "heartbeat"),
        ({"session_ttl": 0.5}, "session_ttl"),
        ({"session_ttl": 70_000}, "session_ttl"),
        ({"connect_timeout": 0}, "connect_timeout"),
        ({"close_grace": -1}, "close_grace"),
        ({"max_inflight": 0}, "max_inflight"),
        ({"client_id": b"short"}, "client id"),
    ],
)
async def test_settings_are_checked(settings: dict[str, object], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        open_client("slock://localhost", **settings)  # type: ignore[arg-type]


async def test_a_listener_that_is_no_slock() -> None:
    """A web server, say, that answers in its own way."""

    async def serve_http(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n".ljust(64))
        await stream.aclose()

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, serve_http, 0)
        stream = await open_stream_to_socket_listener(listeners[0])
        port = stream.socket.getpeername()[1]
        await stream.aclose()
        with pytest.raises(ConnectionLost, match="cannot connect"):
            async with open_client(
                f"slock://127.0.0.1:{port}", backoff=Backoff(first=1, limit=1)
            ):
                pytest.fail("the body must not run")
        nursery.cancel_scope.cancel()


async def test_a_client_of_one_server_has_no_members(
    autojump_clock: MockClock,
) -> None:
    async with open_network() as network, network.open_client() as client:
        with pytest.raises(ValueError, match="name several hosts in its URL"):
            client.add_member("localhost", 5658)
        with pytest.raises(ValueError, match="this client has one server"):
            client.changes()
        assert client.statistics().replica_set is None


async def test_several_hosts_in_the_url_are_members_of_a_replica_set(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests go to the leader; more members can be added."""
    async with trio.open_nursery() as nursery:
        fake = FakeSet(nursery)
        fake.lead(fake.b)
        monkeypatch.setattr(_client, "connect_tcp", fake.open_transport)
        hosts = ",".join(f"{host}:{port}" for host, port in ADDRESSES[:2])
        async with open_client(f"slock://{hosts}/7") as client:
            assert client.number == 7
            client.add_member(*ADDRESSES[2])
            state = await anext(client.changes())
            assert state.leader == fake.b.address
            await client.ping()
        nursery.cancel_scope.cancel()
