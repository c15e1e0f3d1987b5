"""What a child inherits, and how long a lock outlives its process."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from bench.lost_holder import DEFAULT, HOST, holding, seconds_until_free
from trio.testing import MockClock

from trioslock import Client, open_client
from trioslock._forks import give_up_in_children
from trioslock.server import Server, ServerLimits, open_server
from trioslock.storage import open_storage
from trioslock.testing import open_network

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")


@asynccontextmanager
async def serving(limits: ServerLimits | None = None) -> AsyncIterator[Server]:
    async with open_server(port=0, limits=limits) as server:
        yield server


TIMES: dict[str, Any] = {"session_ttl": 1, "heartbeat": 1}


async def until_free(server: Server, key: str) -> None:
    async with open_client(f"slock://127.0.0.1:{server.port}") as client:
        with trio.fail_after(30):
            await seconds_until_free(client, key)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["alone", "fork", "program"])
async def test_the_key_of_a_killed_holder_is_free(how: str) -> None:
    """Also if a child or a program that it has started lives on."""
    async with serving() as server:
        assert server.port is not None
        async with holding((HOST, server.port), DEFAULT, how=how, **TIMES) as holder:
            holder.kill()
            await until_free(server, *holder.keys)


@pytest.mark.slow
async def test_the_key_of_a_frozen_holder_is_free() -> None:
    """Its connection is open, but its heartbeat has stopped."""
    async with serving(ServerLimits(silent_seconds=3)) as server:
        assert server.port is not None
        async with holding((HOST, server.port), DEFAULT, **TIMES) as holder:
            # Until it has sent its first PINGs: the server tells by them that it can.
            with trio.fail_after(20):
                while not any(
                    connection._session.pings for connection in connections(server)
                ):
                    await trio.sleep(0.05)
            holder.freeze()
            await until_free(server, *holder.keys)


def connections(server: Server) -> list[object]:
    return list(server._connections.values())


def run_in_child(check: object) -> int:
    """Run a function in a forked child; return its exit code, 0 if it was true."""
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if check() else 1)  # type: ignore[operator]
        except BaseException:  # noqa: BLE001 - nothing of the parent may run here
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def refuses(client: Client) -> bool:
    """Whether a client's first step already raises the sentence of a child."""
    try:
        client.lock("key").acquire().send(None)
    except RuntimeError as error:
        return "forked from it: open a client here" in str(error)
    return False


async def test_a_client_refuses_to_be_used_in_a_child() -> None:
    """And its parent goes on, over the same connection."""
    async with serving() as server:
        async with open_client(f"slock://127.0.0.1:{server.port}") as client:
            grant = await client.lock("held").acquire()
            assert run_in_child(lambda: refuses(client)) == 0
            await client.ping()
            await grant.release()
            assert client.statistics().connections == 1


def sockets() -> int:
    """Count the TCP sockets of this process."""
    links = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")]
    inodes = [os.readlink(link) for link in links if os.path.islink(link)]
    tables = [Path(f"/proc/self/net/{name}").read_text() for name in ("tcp", "tcp6")]
    known = {line.split()[9] for table in tables for line in table.splitlines()[1:]}
    return sum(inode[8:-1] in known for inode in inodes if inode.startswith("socket:"))


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")
async def test_a_child_has_no_socket_of_its_parent() -> None:
    """Neither the client's, nor those of a server, which would keep its port."""
    async with serving() as server:
        async with open_client(f"slock://127.0.0.1:{server.port}"):
            before = sockets()
            assert before >= 3
            assert run_in_child(lambda: sockets() == before - 3) == 0
            assert sockets() == before


async def test_no_socket_is_inherited_by_a_program() -> None:
    """Python's sockets are closed by ``exec``, those that were accepted too."""
    async with serving() as server:
        async with open_client(f"slock://127.0.0.1:{server.port}") as client:
            link = client._session._link
            (connection,) = server._connections.values()
            for transport in (link._transport, connection._transport):  # type: ignore[union-attr]
                assert not transport._socket.get_inheritable()
            assert not server._listeners[0].socket.get_inheritable()


def test_a_child_lets_go_of_the_files_of_a_server(tmp_path: Path) -> None:
    """So the next server can open them, although the child lives."""
    storage = open_storage(tmp_path)
    reader, writer = os.pipe()
    started, begin = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(begin, b"x")
        os.close(writer)
        os.read(reader, 1)
        os._exit(0)
    os.read(started, 1)
    storage.close()
    open_storage(tmp_path).close()
    os.close(writer)
    os.waitpid(child, 0)
    for descriptor in (reader, started, begin):
        os.close(descriptor)


def test_what_has_ended_is_not_given_up() -> None:
    class Thing:
        def forked(self) -> None:
            os._exit(3)

    thing = Thing()
    give_up_in_children(thing)
    assert run_in_child(lambda: True) == 3
    del thing
    assert run_in_child(lambda: True) == 0


@pytest.mark.parametrize("error", [OSError, RuntimeError])
def test_one_that_fails_keeps_no_other_from_being_given_up(
    error: type[Exception],
) -> None:
    class Thing:
        given_up = False

        def forked(self) -> None:
            Thing.given_up, was = True, Thing.given_up
            if not was:
                raise error
            self.given_up = True

    things = [Thing(), Thing()]
    for thing in things:
        give_up_in_children(thing)
    # Whichever came first has failed.
    assert run_in_child(lambda: [vars(one) for one in things].count({}) == 1) == 0


async def test_a_client_without_a_heartbeat_may_be_silent(
    autojump_clock: MockClock,
) -> None:
    """One that has sent no PING waits for an hour; one that has is cut."""
    async with open_server(host=None) as server, open_network(server) as network:
        async with (
            network.open_client(heartbeat=5000) as quiet,
            network.open_client(heartbeat=5) as lively,
        ):
            await trio.sleep(3600)
            for client in (quiet, lively):
                await client.ping()
                assert client.statistics().connections == 1
            # Frozen: it neither sends nor receives any more.
            network.streams[1].hang()
            grant = await quiet.lock("key").acquire()
            await trio.sleep(50)
            assert server.statistics().connections == 2
            await trio.sleep(3 * 3600)
            assert grant.held
            network.streams[1].thaw()
