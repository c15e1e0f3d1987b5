"""Each recipe with its holder killed, and frozen: processes of their own.

With the holder cut off they are tested in virtual time, in the recipe's own file.
A frozen process is let go on at the end, and says what has become of it.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio
from bench.lost_holder import Address, running, url_of
from tests.services import wait_for_line

from trioslock import Client, ConnectionLost, Data, open_client
from trioslock.recipes import (
    Election,
    Leader,
    barrier,
    cache_lock,
    leader,
    once_per,
    rate_limit,
    worker_pool,
)

pytestmark = pytest.mark.slow

LEASE = 1
# A lease of N seconds ends within N + 3; the rest is for a loaded machine.
PATIENCE = LEASE + 3 + 10

PROGRAM = f"""
    import sys, trio
    from trioslock import LockLost, open_client, recipes

    LEASE = {LEASE}

    def ready():
        print("ready", flush=True)

    async def lead(client, key):
        async with recipes.leader(client, key, name="lost", lease=LEASE):
            ready()
            await trio.sleep_forever()

    async def claim(client, key):
        async with client.lock(key + "/alive", lease=LEASE):
            assert await recipes.once_per(client, key, "slot", keep=60)
            ready()
            await trio.sleep_forever()

    async def work(client, key):
        async with recipes.worker_pool(client, key, 1, lease=LEASE):
            ready()
            await trio.sleep_forever()

    async def limit(client, key):
        ready()
        await recipes.rate_limit(client, key, 1, 1).acquire()

    async def arrive(client, key):
        ready()
        await recipes.barrier(client, key, 3, lease=LEASE)

    async def cache(client, key):
        async def compute():
            ready()
            await trio.sleep_forever()

        read = client.value(key + "/cache").get
        await recipes.cache_lock(client, key, lease=LEASE).get(read, compute)

    async def main():
        url, key, recipe = sys.argv[1:]
        async with open_client(url, session_ttl=2) as client:
            try:
                await globals()[recipe](client, key)
            except LockLost:
                pass
            await client.event(key + "/noticed", ttl=60).set()

    trio.run(main)
"""


@pytest.fixture(scope="module")
def embedded_server() -> Iterator[Address]:
    """One process for all tests: they use keys of their own."""
    command = [sys.executable, "-m", "trioslock", "serve", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        line = wait_for_line(process, "listening on ")
        yield "127.0.0.1", int(line.rpartition(":")[2])
        process.terminate()


@pytest.fixture(params=["embedded", pytest.param("live", marks=pytest.mark.live)])
def server(request: pytest.FixtureRequest) -> Address:
    live = request.param == "live"
    address: Address = request.getfixturevalue(
        "slock_address" if live else "embedded_server"
    )
    return address


@dataclass
class Lost:
    """A process that runs a recipe, and a client of the same server.

    Attributes:
        key: The recipe's key.
        client: The other client.
        how: The signal that the process gets.
        pid: The process.
    """

    key: str
    client: Client
    how: signal.Signals
    pid: int

    def lose(self) -> None:
        os.kill(self.pid, self.how)

    async def notices(self) -> None:
        """If it is frozen, let it go on; wait until its body has ended."""
        if self.how == signal.SIGSTOP:
            os.kill(self.pid, signal.SIGCONT)
            await self.client.event(self.key + "/noticed", ttl=60).wait()


@asynccontextmanager
async def losing(
    server: Address, recipe: str, how: signal.Signals
) -> AsyncGenerator[Lost]:
    url, key = url_of(server), f"lost-{secrets.token_hex(4)}"
    async with running(PROGRAM, url, key, recipe) as (_, pid), open_client(url) as one:
        yield Lost(key, one, how, pid)


async def killed_and_frozen(
    server: Address, recipe: str, check: Callable[[Lost], Awaitable[None]]
) -> None:
    """Check a recipe in both cases at the same time: leases take seconds."""

    async def run(how: signal.Signals) -> None:
        async with losing(server, recipe, how) as lost:
            await check(lost)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, signal.SIGKILL)
        nursery.start_soon(run, signal.SIGSTOP)


async def test_another_leads_after_the_lease(server: Address) -> None:
    """With a larger token; a leader that was frozen stops when it goes on."""

    async def check(lost: Lost) -> None:
        changes = Election(lost.client, lost.key).changes()
        former = await anext(changes)
        assert former is not None
        assert former.name == "lost"
        lost.lose()
        with trio.fail_after(PATIENCE):
            async with leader(lost.client, lost.key, name="next") as term:
                assert term.token > former.token
                while (present := await anext(changes)) is None:
                    pass
                assert present == Leader("next", term.token)
                await lost.notices()

    await killed_and_frozen(server, "lead", check)


async def test_a_slot_is_not_run_twice(server: Address) -> None:
    """It is kept when the process and its connection are gone."""

    async def check(lost: Lost) -> None:
        lost.lose()
        with trio.fail_after(PATIENCE):
            async with lost.client.lock(lost.key + "/alive"):
                assert not await once_per(lost.client, lost.key, "slot", keep=60)
                await lost.notices()

    await killed_and_frozen(server, "claim", check)


async def test_another_worker_has_the_place_after_the_lease(server: Address) -> None:
    """And a worker that was frozen stops when it goes on."""

    async def check(lost: Lost) -> None:
        lost.lose()
        with trio.fail_after(PATIENCE):
            async with worker_pool(lost.client, lost.key, 1, lease=LEASE) as worker:
                assert worker.number == 0
                await lost.notices()

    await killed_and_frozen(server, "work", check)


async def test_a_lost_process_blocks_no_turns(server: Address) -> None:
    """A turn that it waited for is at most spent, and comes back."""

    async def check(lost: Lost) -> None:
        limit = rate_limit(lost.client, lost.key, 1, 1)
        lost.lose()
        with trio.fail_after(PATIENCE):
            for _ in range(2):
                await limit.acquire()
            await lost.notices()

    await killed_and_frozen(server, "limit", check)


async def test_a_lost_party_does_not_count_after_the_lease(server: Address) -> None:
    """One that was frozen finds the barrier open when it goes on."""

    async def check(lost: Lost) -> None:
        async def until_arrived(count: int) -> None:
            while len(await lost.client.holders(lost.key)) != count:
                await trio.sleep(0.01)

        async def arrive() -> None:
            await barrier(lost.client, lost.key, 3, keep=60)
            passed.append(True)

        passed: list[bool] = []
        with trio.fail_after(PATIENCE):
            await until_arrived(1)
            lost.lose()
            await until_arrived(0)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(arrive)
                nursery.start_soon(arrive)
                await until_arrived(2)
                assert passed == []
                nursery.start_soon(arrive)
            await lost.notices()

    await killed_and_frozen(server, "arrive", check)


async def test_another_computes_after_the_lease(server: Address) -> None:
    """One that was frozen reads that value when it goes on."""

    async def check(lost: Lost) -> None:
        stored = lost.client.value(lost.key + "/cache", ttl=60)

        async def compute() -> Data:
            await stored.set("value")
            return Data.set("value")

        lost.lose()
        with trio.fail_after(PATIENCE):
            value = await cache_lock(lost.client, lost.key).get(stored.get, compute)
            assert value.text == "value"
            await lost.notices()

    await killed_and_frozen(server, "cache", check)


@pytest.mark.long
async def test_a_leader_and_a_slot_outlive_a_killed_server(
    tmp_path: Path, free_port: int
) -> None:
    """It is started again with what it had stored; a candidate goes on waiting."""
    command = [sys.executable, "-m", "trioslock", "serve", "--port", str(free_port)]
    command += ["--data", str(tmp_path / "held")]

    async def lead(client: Client) -> None:
        async with leader(client, "k", name="b"):
            pytest.fail("another leads")

    async def until_another_waits() -> None:
        while True:
            with suppress(ConnectionLost):
                if len(await other.waiters("k")) == 1:
                    return
            await trio.sleep(0.01)

    server = await trio.lowlevel.open_process(command)
    url = url_of(("127.0.0.1", free_port))
    async with (
        open_client(url, wait_connected=False) as client,
        open_client(url, wait_connected=False) as other,
        trio.open_nursery() as nursery,
    ):
        async with leader(client, "k", name="a") as term:
            assert await once_per(client, "job", "slot")
            nursery.start_soon(lead, other)
            await until_another_waits()
            server.kill()
            await server.wait()
            server = await trio.lowlevel.open_process(command)
            # The server stores no waits: it is connected and waits again.
            await until_another_waits()
            assert await Election(client, "k").current() == Leader("a", term.token)
            assert not await once_per(other, "job", "slot")
            assert term.grant.held
            nursery.cancel_scope.cancel()
    server.kill()
    await server.wait()
