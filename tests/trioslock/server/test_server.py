"""The server: its listeners, its connections together, and its end."""

from __future__ import annotations

import errno
import random
import socket
import struct

import pytest
import trio
import trio.testing
from tests.trioslock.server.sockets import (
    PING,
    ask,
    connect,
    is_closed,
    receive,
    wait_until,
)
from tests.trioslock.server.world import lock_command, request

from trioslock.engine import Engine, EngineLimits
from trioslock.host import EngineHost
from trioslock.protocol import (
    CommandType,
    PlainCommand,
    ResultCode,
    encode_command,
    to_key,
)
from trioslock.server import Server, ServerLimits, open_server


async def test_serves_both_dialects() -> None:
    """On one port, side by side, on one engine."""
    async with open_server(port=0) as server:
        async with await connect(server) as binary, await connect(server) as text:
            await binary.send_all(encode_command(lock_command("k", "a")))
            assert (await receive(binary, 64))[19] == 0
            assert b"UNOWN_ERROR" in await ask(text, "UNLOCK", "k", "LOCK_ID", "z")
            statistics = server.statistics()
            assert (statistics.connections, statistics.accepted) == (2, 2)
            assert "2 connections" in repr(server)
        await wait_until(lambda: server.statistics().connections == 0)
        assert server.host_engine.engine.statistics().peers == 0
        assert server.host_engine.engine.statistics().holders == 1


async def test_pipelines_are_answered_in_order() -> None:
    """Thousands of commands in one write, frames cut anywhere."""
    async with open_server(port=0) as server, await connect(server) as stream:
        commands = [
            encode_command(PlainCommand(CommandType.PING, number.to_bytes(16, "big")))
            for number in range(3000)
        ]
        wire = b"".join(commands)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.send_all, wire[:100_001])
            found = await receive(stream, 100_001 // 64 * 64)
            nursery.start_soon(stream.send_all, wire[100_001:])
            found += await receive(stream, len(wire) - len(found))
        ids = [
            int.from_bytes(found[at + 3 : at + 19]) for at in range(0, len(wire), 64)
        ]
        assert ids == list(range(3000))


async def test_a_release_reaches_the_others_at_once() -> None:
    """The connection that unlocks sends the grants, to text and binary waiters."""
    async with open_server(port=0) as server:
        async with (
            await connect(server) as holder,
            await connect(server) as binary,
            await connect(server) as text,
        ):
            await ask(holder, "LOCK", "k", "LOCK_ID", "h")
            await binary.send_all(encode_command(lock_command("k", "b", wait=9)))
            await text.send_all(request("LOCK", "k", "LOCK_ID", "t", "TIMEOUT", "9"))
            engine = server.host_engine.engine
            await wait_until(lambda: engine.statistics().waiters == 2)
            await ask(holder, "UNLOCK", "k", "LOCK_ID", "h")
            assert (await receive(binary, 64))[19] == 0
            await binary.send_all(
                encode_command(lock_command("k", "b", kind=CommandType.UNLOCK))
            )
            assert (await text.receive_some(1000)).startswith(b"*12\r\n$1\r\n0\r\n")


async def test_an_in_process_peer_shares_the_engine() -> None:
    """With a shared host, the release of a peer there reaches the sockets."""
    host = EngineHost(Engine())
    async with trio.open_nursery() as nursery:
        await nursery.start(host.run)
        peer = host.attach(lambda _: None, lambda: None)
        peer.submit(lock_command("k", "inside"))
        async with open_server(port=0, host_engine=host) as server:
            async with await connect(server) as stream:
                await stream.send_all(encode_command(lock_command("k", "b", wait=9)))
                await wait_until(lambda: host.engine.statistics().waiters == 1)
                peer.submit(lock_command("k", "inside", kind=CommandType.UNLOCK))
                assert (await receive(stream, 64))[19] == 0
        assert host.engine.statistics().holders == 1
        nursery.cancel_scope.cancel()


async def test_time_passes_for_connections() -> None:
    """A wait of milliseconds ends by itself."""
    async with open_server(port=0) as server, await connect(server) as stream:
        await ask(stream, "LOCK", "k", "LOCK_ID", "a")
        timeout = 0x0400 << 16 | 20
        reply = await ask(stream, "LOCK", "k", "LOCK_ID", "b", "TIMEOUT", str(timeout))
        assert b"$7\r\nTIMEOUT\r\n" in reply


# Peers that misbehave.


async def test_garbage_ends_its_own_connection_at_most() -> None:
    """Random bytes, on fifty connections beside a good one."""
    choose = random.Random(5658)
    async with open_server(port=0) as server, await connect(server) as good:
        for _ in range(50):
            async with await connect(server) as bad:
                head = choose.choice([b"", b"*", b"\x56", b"\x56\x01", b"*3\r\n$"])
                await bad.send_all(head + choose.randbytes(choose.randrange(1, 300)))
                await bad.send_eof()
                try:
                    while await bad.receive_some(1000):
                        pass
                except trio.BrokenResourceError:
                    pass
        assert await ask(good, "PING") == b"+PONG\r\n"
        await wait_until(lambda: server.statistics().connections == 1)


async def test_too_many_connections_are_refused() -> None:
    """Until one of the others leaves."""
    async with open_server(port=0, limits=ServerLimits(connections=1)) as server:
        async with await connect(server) as first:
            assert await ask(first, "PING") == b"+PONG\r\n"
            async with await connect(server) as second:
                assert await is_closed(second)
        await wait_until(lambda: server.statistics().connections == 0)
        async with await connect(server) as third:
            assert await ask(third, "PING") == b"+PONG\r\n"
        assert server.statistics().refused == 1


async def test_a_connection_can_be_killed() -> None:
    """By its address, from another one; CLIENT LIST shows both."""
    async with open_server(port=0) as server:
        async with await connect(server) as victim, await connect(server) as text:
            await victim.send_all(PING)
            await receive(victim, 64)
            host, port = victim.socket.getsockname()
            listing = await ask(text, "CLIENT", "LIST")
            assert b"addr=%s:%d fd=" % (host.encode(), port) in listing
            assert b"protocol=binary age=0" in listing
            assert await ask(text, "CLIENT", "KILL", f"{host}:{port}") == b"+OK\r\n"
            assert await is_closed(victim)
            reply = await ask(text, "CLIENT", "KILL", f"{host}:{port}")
            assert reply == b"-ERR No such client\r\n"


class StubbornListener(trio.abc.Listener[trio.SocketStream]):
    """A listener whose first accepts find no file number left."""

    def __init__(self, inner: trio.SocketListener, error: int, times: int) -> None:
        self._inner = inner
        self._error = error
        self._times = times
        self.socket = inner.socket

    async def accept(self) -> trio.SocketStream:
        if self._times:
            self._times -= 1
            raise OSError(self._error, "accept")
        return await self._inner.accept()

    async def aclose(self) -> None:
        await self._inner.aclose()


@pytest.mark.slow
async def test_a_lack_of_file_numbers_passes(caplog: pytest.LogCaptureFixture) -> None:
    """Accepting is tried again after a pause."""
    (inner,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    listener = StubbornListener(inner, errno.EMFILE, 2)
    host = EngineHost(Engine())
    server = Server(host, [listener])  # type: ignore[list-item]
    async with trio.open_nursery() as nursery:
        await nursery.start(server.run)
        async with await connect(server) as stream:
            assert await ask(stream, "PING") == b"+PONG\r\n"
        nursery.cancel_scope.cancel()
    assert caplog.text.count("cannot accept a connection") == 2


async def test_a_peer_that_resets_before_it_is_accepted_is_ignored() -> None:
    """Its socket has no address any more; the next one is served."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    server = Server(EngineHost(Engine()), listeners)
    with socket.create_connection(("127.0.0.1", server.port or 0)) as gone:
        # Linger for no time: close sends a reset.
        gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    async with trio.open_nursery() as nursery:
        await nursery.start(server.run)
        async with await connect(server) as stream:
            assert await ask(stream, "PING") == b"+PONG\r\n"
        assert server.statistics().accepted == 1
        nursery.cancel_scope.cancel()


async def test_another_error_of_a_listener_ends_the_server() -> None:
    """Trying again would fail again."""
    (inner,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    listener = StubbornListener(inner, errno.EBADF, 1)
    server = Server(EngineHost(Engine()), [listener])  # type: ignore[list-item]
    with pytest.RaisesGroup(OSError, flatten_subgroups=True):
        await server.run()
    assert inner.socket.fileno() < 0


# The end.


async def test_shutdown_lets_connections_go_on_for_a_while() -> None:
    """No new ones; then everything is closed and run returns."""
    limits = ServerLimits(drain_seconds=0.2)
    async with open_server(port=0, limits=limits) as server:
        async with await connect(server) as stream:
            assert await ask(stream, "PING") == b"+PONG\r\n"
            assert await ask(stream, "SHUTDOWN") == b"-ERR Shutdown Not Allowed\r\n"
            server.begin_shutdown()
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(OSError, match=r"refused|all attempts"):
                await connect(server)
            assert await ask(stream, "PING") == b"+PONG\r\n"
            assert await is_closed(stream)
            with trio.fail_after(5):
                await server.wait_ended()
            assert server.statistics().connections == 0


async def test_connections_serve_the_body_on_its_way_out() -> None:
    """A cancelled body still gets the answer to its release."""
    answers: list[bytes] = []
    with trio.CancelScope() as scope:
        async with open_server(port=0) as server:
            stream = await connect(server)
            await ask(stream, "LOCK", "k", "LOCK_ID", "a")
            scope.cancel()
            try:
                await trio.sleep_forever()
            finally:
                with trio.CancelScope(shield=True):
                    answers.append(await ask(stream, "UNLOCK", "k", "LOCK_ID", "a"))
                    await stream.aclose()
    assert answers[0].startswith(b"*12\r\n$1\r\n0\r\n")


async def test_nothing_is_left_after_the_body() -> None:
    """Connections are closed, the port is free, the body's error comes alone."""
    with pytest.raises(KeyError):
        async with open_server(port=0) as server:
            stream = await connect(server)
            port = server.port
            assert port is not None
            assert await ask(stream, "PING") == b"+PONG\r\n"
            raise KeyError
    assert await is_closed(stream)
    await stream.aclose()
    async with open_server(port=port) as server:
        assert server.address == f"127.0.0.1:{port}"
    with pytest.raises(RuntimeError, match="does not run"):
        await server.serve_stream(trio.testing.memory_stream_pair()[0])


async def test_an_address_in_use_is_an_error() -> None:
    """Before the body begins."""
    async with open_server(port=0) as server:
        address = server.address
        with pytest.raises(OSError, match=f"cannot listen on {address}: .* in use"):
            async with open_server(port=server.port or 0):
                pytest.fail("two servers on one port")


async def test_limits_of_the_engine_are_passed_on() -> None:
    """A key too many is refused with result 11."""
    async with open_server(port=0, engine_limits=EngineLimits(keys=1)) as server:
        async with await connect(server) as stream:
            for number, code in enumerate((0, ResultCode.ERROR)):
                command = lock_command(str(number))
                await stream.send_all(encode_command(command))
                assert (await receive(stream, 64))[19] == code


async def test_ids_that_the_server_makes_are_unpredictable() -> None:
    """Each LOCK without an id gets another one, also on another connection."""
    async with open_server(port=0) as server:
        ids = set()
        for _ in range(2):
            async with await connect(server) as stream:
                for _ in range(100):
                    reply = await ask(stream, "LOCK", "k", "EXPRIED", "0")
                    ids.add(bytes.fromhex(reply.split(b"\r\n")[8].decode()))
        assert len(ids) == 200
        assert len({lock_id[:8] for lock_id in ids}) == 200


async def test_info_shows_the_server() -> None:
    """Its address and its counts."""
    async with open_server(port=0) as server, await connect(server) as stream:
        info = await ask(stream, "INFO")
        assert b"tcp_bind:127.0.0.1\r\ntcp_port:%d\r\n" % (server.port or 0) in info
        assert b"connected_clients:1\r\n" in info
        assert b"total_commands_processed:1\r\n" in info
        config = await ask(stream, "CONFIG", "GET", "PORT")
        assert config == b"*2\r\n$4\r\nPORT\r\n$5\r\n%d\r\n" % (server.port or 0)


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("port", [-1, 65_536, 99_999])
async def test_a_port_out_of_range_is_refused(port: int) -> None:
    """The system would listen on its lower 16 bits."""
    with pytest.raises(ValueError, match=f"a port must be 0 to 65535, not {port}"):
        async with open_server(port=port):
            pytest.fail("it listens")


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
async def test_ipv6() -> None:
    """Addresses are written with brackets."""
    async with open_server("::1", 0) as server:
        assert server.address == f"[::1]:{server.port}"
        async with await trio.open_tcp_stream("::1", server.port or 0) as stream:
            assert b"addr=[::1]:" in await ask(stream, "CLIENT", "LIST")


def test_keys_are_the_same_in_both_dialects() -> None:
    """The helper of these tests names keys as the text dialect does."""
    assert lock_command("k").key == to_key("k")
