"""A server in a thread: its time, its faults and what it shows, from outside."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
import trio

from trioslock import SESSION, ConnectionLost, LockLost
from trioslock.testing import Claims, SlockServer, open_slock_server

HOLD = """
import sys, trio, trioslock
async def main():
    async with trioslock.open_client(sys.argv[1]) as client, client.lock("k"):
        await trio.to_thread.run_sync(sys.stdin.readline)
trio.run(main)
"""


@pytest.fixture
def server() -> Iterator[SlockServer]:
    with open_slock_server() as server:
        yield server
    assert [each for each in threading.enumerate() if "trioslock" in each.name] == []


def test_another_process_holds_a_key(server: SlockServer) -> None:
    """Blocking code waits until it does, or says what it has waited for."""
    command = [sys.executable, "-c", HOLD, server.url]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        assert server.wait_claims("k", holders=1, timeout=20) == Claims(1, 0)
        with pytest.raises(TimeoutError, match=r"holders=1, waiters=0\) after 0 s"):
            server.wait_claims("k", waiters=1, timeout=0)
        process.communicate(b"\n", timeout=20)
    assert process.returncode == 0
    assert server.claims("k") == Claims(0, 0)


async def test_a_lease_runs_out_by_the_servers_clock(server: SlockServer) -> None:
    """A session lease is renewed as long as the connection lives."""
    server.stop_clock()
    async with server.open_client() as client:
        async with client.lock("session", lease=SESSION):
            with pytest.raises(LockLost):
                async with client.lock("k", lease=60):
                    server.advance(59)
                    await client.ping()
                    server.advance(2)
                    await trio.sleep(10)
                    pytest.fail("the lease has run out")
            assert server.claims("session") == Claims(1, 0)


async def test_connections_are_cut_and_refused(server: SlockServer) -> None:
    """A client is back when it can be."""
    async with server.open_client() as client:
        server.cut()
        with pytest.raises(ConnectionLost):
            await client.ping()
        await client.wait_connected()
        server.down()
        with pytest.raises(ConnectionLost):
            await client.ping()
        assert "down" in repr(server)
        server.up()
        await client.wait_connected()
        await client.ping()


async def test_a_frozen_and_slow_server_is_healed(server: SlockServer) -> None:
    """With its clock stopped, a delay ends when the clock is advanced."""
    server.stop_clock()
    async with server.open_client() as client:
        server.freeze()
        server.delay(5)
        for release in (server.thaw, lambda: server.advance(5)):
            with trio.move_on_after(0.05) as waiting:
                await client.ping()
            assert waiting.cancelled_caught
            release()
        server.heal()
        await client.ping()


async def test_a_key_is_lost(server: SlockServer) -> None:
    """In the database that is named, and no other one."""
    async with server.open_client(db=2) as client:
        with pytest.raises(LockLost):
            async with client.lock("k"):
                assert server.lose("k") == 0
                assert server.lose("k", db=2) == 1
                await trio.sleep(10)
