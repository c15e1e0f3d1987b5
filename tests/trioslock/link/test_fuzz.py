"""Fuzzed streams from a server: named errors or a reconnect, and nothing left.

``TRIOSLOCK_FUZZ_STREAMS`` is the number of streams, 8,000 by default. One in
twenty goes through a whole client, the others through parser and table alone.
``TRIOSLOCK_FUZZ_SEED`` starts elsewhere. A failure names the seed of its stream.
"""

from __future__ import annotations

import os
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from tests.trioslock.link.mutation import Mutator
from tests.trioslock.link.parts import FakeTable, Holder
from tests.trioslock.protocol.strategies import results
from trio.testing import MockClock, memory_stream_pair

from trioslock import Client, Data, RemoteProtocolError, SlockError
from trioslock.client import open_session_client
from trioslock.link import Backoff, RequestTable, SessionSettings, connector
from trioslock.link._entries import PendingLock
from trioslock.link._orphans import (
    OrphanRequest,
    OrphanUnlock,
    OrphanUpdate,
    Withdrawal,
)
from trioslock.protocol import (
    FRAME_SIZE,
    ClientSide,
    Command,
    LockCommand,
    LockResult,
    Result,
    encode_result,
)
from trioslock.server import Server, open_server
from trioslock.transport import READ_SIZE, StreamTransport

STREAMS = int(os.environ.get("TRIOSLOCK_FUZZ_STREAMS", "8000"))
FIRST = int(os.environ.get("TRIOSLOCK_FUZZ_SEED", "0"))
WHOLE = max(1, STREAMS // 20)
PARTS = 8
BUFFER_LIMIT = FRAME_SIZE + 4 + (1 << 20) + READ_SIZE

LOCK, UNLOCK = 1, 2
_WITHDRAWALS = (OrphanUnlock, Withdrawal)


class FuzzedTable(FakeTable):
    """A request table whose commands are kept."""

    def withdrawals(self) -> int:
        """Count the entries that ``withdrawing`` is to count."""
        tables = (*self.locks.values(), *self.unlocks.values())
        return len({id(entry) for entry in tables if isinstance(entry, _WITHDRAWALS)})


def populate(table: FuzzedTable, source: random.Random) -> list[Holder]:
    """Put one of each kind under way; return the holders."""
    holders: list[Holder] = []
    for kind in source.sample(range(6), source.randint(1, 6)):
        attempt = table.new_id()
        lock = LockCommand(
            LOCK, attempt, 0, 0, attempt, b"k" * 16, 9, 0, 9, 0x200, 0, 0
        )
        if kind == 0:
            table.withdraw(lock)
        elif kind == 1:
            table.undo(lock)
        elif kind == 2:
            table.release_later(lock._replace(type=UNLOCK))
            table.post(lock._replace(type=UNLOCK))
        elif kind in (3, 4):
            forgotten = OrphanRequest if kind == 3 else OrphanUpdate
            table.register(lock, forgotten(table, lock))
            table.post(lock)
        else:
            holders.append(hold(table, lock))
            table.renew(table.held[attempt[:-2]])
    return holders


def hold(table: RequestTable, lock: LockCommand) -> Holder:
    holder = Holder()
    # The task of a wait is of no use once it is granted.
    entry: Any = PendingLock(table, lock, holder, None, True)  # type: ignore[arg-type]
    table.held[lock.request_id[:-2]] = entry
    return holder


def answer(command: Command, source: random.Random) -> bytes:
    assert isinstance(command, LockCommand)
    code = source.choice([0, 0, 5, 6, 7, 8, 9, 10])
    data = Data.set(["a", "b"]).encode() if source.random() < 0.3 else None
    return encode_result(
        LockResult(
            command.type,
            command.request_id,
            code,
            0,
            0,
            command.lock_id,
            command.key,
            1,
            0,
            1,
            0,
            data,
        )
    )


def read_values(result: Result) -> None:
    """Read a value in every way."""
    if isinstance(result, LockResult) and result.data is not None:
        data = Data.decode(result.data)
        for name in ("array", "map", "number", "text", "value"):
            getattr(data, name)


def run_stream(seed: int) -> None:
    mutate = Mutator(seed, rate=0.5)
    source = mutate.random
    table, side = FuzzedTable(), ClientSide()
    holders = populate(table, source)
    answered = 0
    try:
        for _ in range(6):
            # What an answer makes the table send is answered in the next round.
            chunk = b"".join(answer(c, source) for c in table.posted[answered:])
            answered = len(table.posted)
            side.receive_data(mutate(chunk) if chunk else mutate.frame())
            assert side.buffered <= BUFFER_LIMIT
            for result in side.results():
                table.receive(result)
                try:
                    read_values(result)
                except RemoteProtocolError:
                    # The caller's error; the stream goes on.
                    continue
        side.receive_data(b"")
    except RemoteProtocolError:
        assert side.buffered == 0
    assert table.withdrawing == table.withdrawals()
    assert table.in_flight <= len(table.posted) + 8
    assert all(len(holder.losses) <= 1 for holder in holders)
    assert not table.fake_owner.lingering


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_fuzzed_replies_leave_the_tables_consistent(part: int) -> None:
    """Whatever arrives, the count of withdrawals is that of their entries."""
    for seed in range(FIRST + part, FIRST + STREAMS - WHOLE, PARTS):
        try:
            run_stream(seed)
        except Exception as error:
            error.add_note(f"seed {seed}")
            raise


@given(st.lists(st.one_of(results.map(encode_result), st.binary(max_size=200))))
def test_any_frames_are_read_or_refused(chunks: list[bytes]) -> None:
    table, side = FuzzedTable(), ClientSide()
    try:
        for chunk in chunks:
            side.receive_data(chunk)
            for result in side.results():
                table.receive(result)
    except RemoteProtocolError:
        return
    assert table.in_flight == 0
    assert side.buffered <= sum(map(len, chunks))


class FuzzedNetwork:
    """A server whose replies are mutated on their way; the last resort is sound.

    Args:
        server: The server behind it.
        nursery: Where its connections run.
        seed: Decides all mutations.
    """

    def __init__(self, server: Server, nursery: trio.Nursery, seed: int) -> None:
        self._server = server
        self._nursery = nursery
        self._seed = seed
        self.connections = 0

    async def open_transport(self) -> StreamTransport:
        await trio.lowlevel.checkpoint()
        ours, wire = memory_stream_pair()
        far, theirs = memory_stream_pair()
        self._nursery.start_soon(self._server.serve_stream, theirs)
        self._nursery.start_soon(self._activate, wire, far, None)
        mutate = Mutator(f"{self._seed}/{self.connections}")
        self.connections += 1
        self._nursery.start_soon(self._activate, far, wire, mutate)
        return StreamTransport(ours)

    async def _activate(self, source: Any, target: Any, mutate: Mutator | None) -> None:
        try:
            while data := bytes(await source.receive_some(READ_SIZE)):
                if mutate is not None:
                    data = mutate(data)
                if data:
                    await target.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            for stream in (source, target):
                stream.send_stream.close()
                stream.receive_stream.close()


async def body(handle: Any) -> None:
    async with handle:
        await trio.sleep(0.1)


def uses(client: Client) -> list[Callable[[], Awaitable[object]]]:
    """What a program does, of every kind."""
    value = client.value("value", ttl=5)
    group = client.group_event("group", ttl=5)
    tree = client.tree("tree")
    return [
        lambda: body(client.lock("lock")),
        lambda: body(client.lock("lock", lease=3)),
        lambda: body(client.lock("fenced", fenced=True)),
        lambda: body(client.rlock("rlock")),
        lambda: body(client.rwlock("rwlock").write()),
        lambda: body(tree.child("child").leaf()),
        client.lock("lock").show,
        client.lock("lock").try_acquire,
        client.event("event", ttl=5).wait_and_reset,
        client.event("event", ttl=5).set,
        group.clear,
        group.wait,
        lambda: value.set(["a", "b"]),
        lambda: value.push("c"),
        value.pop,
        value.increment,
        value.get,
        client.token_bucket("bucket", 2, 1).acquire,
        lambda: client.holders("lock"),
        lambda: client.waiters("lock"),
        client.keys,
        client.state,
        client.ping,
    ]


async def use(operation: Callable[[], Awaitable[object]]) -> None:
    with trio.move_on_after(5):
        try:
            await operation()
        except (SlockError, trio.WouldBlock, trio.ClosedResourceError):
            # Its name is all that is asked of an error here.
            return


async def run_client(server: Server, seed: int) -> None:
    source = random.Random(seed)
    settings = SessionSettings(
        client_id=seed.to_bytes(16, "big"),
        session_ttl=2,
        close_grace=1,
        connect_timeout=1,
        backoff=Backoff(first=0.01, limit=0.5) if source.random() < 0.8 else None,
    )
    async with trio.open_nursery() as wires:
        network = FuzzedNetwork(server, wires, seed)
        connect = connector(network.open_transport, heartbeat=1)
        with trio.fail_after(30):
            async with open_session_client(
                connect, settings, wait_connected=False
            ) as client:
                async with trio.open_nursery() as nursery:
                    for operation in source.sample(uses(client), 6):
                        nursery.start_soon(use, operation)
                strays = client.statistics()
                assert strays.tasks_waiting_to_send == 0
        wires.cancel_scope.cancel()


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
async def test_a_client_of_a_fuzzed_server_ends(
    autojump_clock: MockClock, part: int
) -> None:
    """No hang, no group, no error but named ones, and no task is left.

    The server behind it is sound, so it is also asked what was left there: nothing,
    once the session's time is over.
    """
    async with open_server(host=None) as server:
        tasks = trio.lowlevel.current_statistics().tasks_living
        for seed in range(FIRST + part, FIRST + WHOLE, PARTS):
            try:
                await run_client(server, seed)
            except BaseException as error:
                error.add_note(f"seed {seed}")
                raise
        assert trio.lowlevel.current_statistics().tasks_living == tasks
        await trio.sleep(60)
        assert server.host_engine.engine.statistics().waiters == 0
