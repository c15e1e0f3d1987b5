"""One connection of a server: slow peers, first commands, errors."""

from __future__ import annotations

import logging

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

from trioslock.protocol import CommandType, Data, encode_command
from trioslock.server import ServerLimits, open_server


async def test_replies_of_a_batch_go_out_in_one_write(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A hundred commands read at once are answered by one send."""
    ours, theirs = trio.testing.memory_stream_pair()
    async with open_server(None) as server, trio.open_nursery() as nursery:
        assert server.port is None
        assert repr(server) == "<Server on no address: 0 connections>"
        nursery.start_soon(server.serve_stream, theirs)
        await ours.send_all(PING * 100)
        assert len(await ours.receive_some(1_000_000)) == 6400
        await ours.aclose()


async def test_a_peer_that_does_not_read_is_cut_by_size(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Results that other peers cause are kept up to a limit; then it is cut, alone."""
    limits = ServerLimits(output_bytes=200_000)
    value = Data.set(b"v" * 100_000).encode()
    async with open_server(port=0, limits=limits) as server:
        async with await connect(server) as lazy, await connect(server) as holder:
            await holder.send_all(encode_command(lock_command("k", "h", data=value)))
            assert (await receive(holder, 64))[19] == 0
            waits = [
                encode_command(lock_command("k", str(n), wait=99, lease=0))
                for n in range(300)
            ]
            await lazy.send_all(b"".join(waits))
            engine = server.host_engine.engine
            await wait_until(lambda: engine.statistics().waiters == 300)
            unlock = lock_command("k", "h", kind=CommandType.UNLOCK)
            await holder.send_all(encode_command(unlock))
            assert (await receive(holder, 64 + len(value)))[19] == 0
            await wait_until(lambda: server.statistics().connections == 1)
            assert server.statistics().cut == 1
            assert "does not read and is cut" in caplog.text
            await holder.send_all(PING)
            assert len(await receive(holder, 64)) == 64


async def test_results_behind_unsent_data_wait_for_it() -> None:
    """Results that other peers cause meanwhile arrive in order, none is lost."""
    value = Data.set(b"v" * 100_000).encode()
    first = [
        lock_command("k", str(number), wait=99, lease=0, flag=0)
        for number in range(200)
    ]
    second = lock_command("other", "last", wait=99, lease=0)
    async with open_server(port=0) as server:
        async with await connect(server) as lazy, await connect(server) as holder:
            for key in ("k", "other"):
                lock = lock_command(key, "h", data=value)
                await holder.send_all(encode_command(lock))
                assert (await receive(holder, 64))[19] == 0
            await lazy.send_all(b"".join(map(encode_command, [*first, second])))
            engine = server.host_engine.engine
            await wait_until(lambda: engine.statistics().waiters == 201)
            for key in ("k", "other"):
                unlock = lock_command(key, "h", kind=CommandType.UNLOCK)
                await holder.send_all(encode_command(unlock))
                await receive(holder, 64 + len(value))
            for command in [*first, second]:
                result = await receive(lazy, 64 + len(value))
                assert (result[3:19], len(result)) == (
                    command.request_id,
                    64 + len(value),
                )


@pytest.mark.slow
async def test_a_peer_that_does_not_read_is_cut_by_time() -> None:
    """And its own commands are not executed while it does not read."""
    limits = ServerLimits(send_seconds=0.3)
    async with open_server(port=0, limits=limits) as server:
        async with await connect(server) as lazy:
            await ask(lazy, "SET", "k", b"v" * 500_000)
            await lazy.send_all(request("GET", "k") * 1000)
            await wait_until(lambda: server.statistics().connections == 0)
            assert server.statistics().cut == 1


@pytest.mark.slow
async def test_a_slow_reader_gets_everything() -> None:
    """As long as it reads, however much it has asked for."""
    limits = ServerLimits(send_seconds=0.5)
    async with open_server(port=0, limits=limits) as server:
        async with await connect(server) as slow:
            await ask(slow, "SET", "k", b"v" * 100_000)
            await slow.send_all(request("GET", "k") * 200)
            total, expected = 0, 200 * (100_000 + len(b"$100000\r\n\r\n"))
            while total < expected:
                part = await slow.receive_some(1_000_000)
                assert part
                total += len(part)
                await trio.sleep(0.01)
            assert total == expected
        assert server.statistics().cut == 0


async def test_input_behind_a_waiting_text_command_is_bounded() -> None:
    """The server stops reading; when the wait ends it goes on."""
    limits = ServerLimits(waiting_input_bytes=10_000)
    async with open_server(port=0, limits=limits) as server:
        async with await connect(server) as holder, await connect(server) as waiting:
            size = len(await ask(holder, "LOCK", "k", "LOCK_ID", "h"))
            await waiting.send_all(request("LOCK", "k", "TIMEOUT", "60"))
            pings = request("PING") * 1_000_000
            sent = 0
            with trio.move_on_after(0.2):
                while sent < len(pings):
                    await waiting.send_all(pings[sent : sent + 7_000])
                    sent += 7_000
            assert sent < len(pings)
            await ask(holder, "UNLOCK", "k", "LOCK_ID", "h")
            reply = await receive(waiting, size + 500 * len(b"+PONG\r\n"))
            assert reply.startswith(b"*12\r\n$1\r\n0\r\n")
            assert reply[size:] == b"+PONG\r\n" * 500


async def test_a_peer_that_leaves_a_waiting_text_command_is_noticed() -> None:
    """Its wait stays, as on the real server; its connection does not."""
    async with open_server(port=0) as server:
        async with await connect(server) as holder:
            await ask(holder, "LOCK", "k", "LOCK_ID", "h")
            async with await connect(server) as waiting:
                await waiting.send_all(request("LOCK", "k", "LOCK_ID", "w"))
                engine = server.host_engine.engine
                await wait_until(lambda: engine.statistics().waiters == 1)
            await wait_until(lambda: server.statistics().connections == 1)
            assert engine.statistics().waiters == 1


async def test_replies_reach_a_peer_that_has_closed_its_sending_side() -> None:
    """Commands before the end of the stream are answered."""
    async with open_server(port=0) as server, await connect(server) as stream:
        await stream.send_all(request("PING") * 3)
        await stream.send_eof()
        assert await receive(stream, 100) == b"+PONG\r\n" * 3


async def test_a_first_command_must_come_to_an_end() -> None:
    """A silent peer may stay, one that stops within its first command may not."""
    limits = ServerLimits(first_frame_seconds=0.05)
    async with open_server(port=0, limits=limits) as server:
        async with (
            await connect(server) as silent,
            await connect(server) as partial,
            await connect(server) as text,
        ):
            await partial.send_all(PING[:40])
            await text.send_all(b"*1\r\n")
            assert await is_closed(partial)
            assert await is_closed(text)
            assert await ask(silent, "PING") == b"+PONG\r\n"
            await silent.send_all(b"*1\r\n")
            await trio.sleep(0.1)
            await silent.send_all(b"$4\r\nPING\r\n")
            assert await silent.receive_some(100) == b"+PONG\r\n"


class BrokenStream(trio.abc.Stream):
    """A stream whose reading or writing fails as no network does."""

    def __init__(self, inner: trio.abc.Stream, *, where: str) -> None:
        self._inner = inner
        self._where = where

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if self._where == "write":
            raise ZeroDivisionError("write")
        await self._inner.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._inner.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        data = await self._inner.receive_some(max_bytes)
        if self._where == "read":
            raise ZeroDivisionError("read")
        return data

    async def aclose(self) -> None:
        await self._inner.aclose()


@pytest.mark.parametrize("where", ["read", "write"])
async def test_a_bug_ends_one_connection(
    where: str,
    autojump_clock: trio.testing.MockClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is logged with its traceback, and the server goes on."""
    ours, theirs = trio.testing.memory_stream_pair()
    good, good_end = trio.testing.memory_stream_pair()
    async with open_server(None) as server, trio.open_nursery() as nursery:
        nursery.start_soon(server.serve_stream, BrokenStream(theirs, where=where))
        nursery.start_soon(server.serve_stream, good_end)
        await ours.send_all(PING)
        assert await is_closed(ours)
        await good.send_all(PING)
        assert len(await good.receive_some(100)) == 64
        await good.aclose()
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert f"ZeroDivisionError: {where}" in caplog.text


@pytest.mark.parametrize("hang", ["read", "write"])
async def test_a_broken_network_is_not_logged(
    hang: str,
    autojump_clock: trio.testing.MockClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A peer that is gone during a read or a write is no error."""
    ours, theirs = trio.testing.memory_stream_pair()
    async with open_server(None) as server, trio.open_nursery() as nursery:
        nursery.start_soon(server.serve_stream, theirs)
        if hang == "write":
            await ours.send_all(PING)
        await trio.aclose_forcefully(ours)
        await trio.testing.wait_all_tasks_blocked()
        assert server.statistics().connections == 0
    assert not caplog.records
