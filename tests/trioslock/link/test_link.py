"""One connection by itself: handshake, writing, reading, heartbeat."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
import trio
from tests.trioslock.link.parts import LOCK, FakeOwner, Holder, answer, lock
from trio.lowlevel import current_task, wait_task_rescheduled
from trio.testing import MockClock, memory_stream_pair, wait_all_tasks_blocked

from trioslock import ConnectionLost, NoLeader, RemoteProtocolError, ServerError
from trioslock._errors import LossReason
from trioslock.link import Link
from trioslock.link._entries import PendingCallback, PendingLock, PendingPreparedLock
from trioslock.link._requester import attempt_of
from trioslock.protocol import (
    FRAME_SIZE,
    CommandType,
    InitResult,
    LockCommand,
    LockResult,
    PlainResult,
    PreparedLock,
    Result,
    ResultCode,
    encode_command,
    encode_result,
)
from trioslock.transport import StreamTransport

HEARTBEAT = 4.0
EXPIRED = int(ResultCode.EXPRIED)


class FakeTransport:
    """A transport whose writes are recorded and whose reads a test feeds.

    Attributes:
        writes: The data of each ``send_nowait``.
        accepts: How many bytes a ``send_nowait`` takes.
    """

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.accepts: int | None = None
        self.rest = bytearray()
        self.closed = False
        self.feed, self._fed = trio.open_memory_channel[bytes](10)

    def send_nowait(self, data: bytes | memoryview) -> int:
        self.writes.append(bytes(data))
        return len(data) if self.accepts is None else min(self.accepts, len(data))

    async def send_all(self, data: bytes | memoryview) -> None:
        await trio.lowlevel.checkpoint()
        self.rest += data

    async def receive(self) -> bytes:
        return await self._fed.receive()

    async def aclose(self) -> None:
        self.closed = True
        await trio.lowlevel.checkpoint()


@dataclass
class Running:
    link: Link
    transport: FakeTransport
    owner: FakeOwner
    results: list[LockResult | None] = field(default_factory=list)

    async def receive(self, *results: Result) -> None:
        await self.transport.feed.send(b"".join(map(encode_result, results)))
        await wait_all_tasks_blocked()

    async def acquire(self, command: LockCommand) -> None:
        """Wait for a LOCK, as a session does."""
        entry = PendingLock(self.link, command, Holder(), current_task(), True)
        self.link.post(command)
        self.link.register(command, entry)
        self.results.append(await wait_task_rescheduled(entry.abort))


@asynccontextmanager
async def running() -> AsyncIterator[Running]:
    """A link that serves, with an idle writer."""
    transport, owner = FakeTransport(), FakeOwner()
    link = Link(transport, owner, heartbeat=HEARTBEAT)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(link.run)
        await wait_all_tasks_blocked()
        yield Running(link, transport, owner)
        nursery.cancel_scope.cancel()
    assert transport.closed


# The handshake.


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (lambda id_: InitResult(id_, 10, 0), NoLeader),
        (lambda id_: InitResult(id_, 3, 0), ServerError),
        (lambda id_: PlainResult(int(CommandType.PING), id_, 0), RemoteProtocolError),
        (None, ConnectionLost),
    ],
)
async def test_a_refused_handshake_is_an_error_and_closes(
    reply: Callable[[bytes], Result] | None, error: type[Exception]
) -> None:
    """Each reason has its own error; none of them leaves a connection."""
    ours, theirs = memory_stream_pair()
    link = Link(StreamTransport(ours), FakeOwner(), heartbeat=HEARTBEAT)

    async def serve() -> None:
        frame = bytes(await theirs.receive_some())
        if reply is None:
            await theirs.aclose()
        else:
            await theirs.send_all(encode_result(reply(frame[3:19])))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        with pytest.raises(error):
            await link.shake_hands(b"c" * 16)
    if reply is not None:
        assert await theirs.receive_some() == b""


async def test_results_behind_the_handshake_are_delivered() -> None:
    """A node may push its role in the same write."""
    ours, theirs = memory_stream_pair()
    link = Link(StreamTransport(ours), FakeOwner(), heartbeat=HEARTBEAT)

    async def serve() -> None:
        frame = bytes(await theirs.receive_some())
        push = InitResult(bytes(16), 0, 0x0D)
        await theirs.send_all(
            encode_result(InitResult(frame[3:19], 0, 0x0A)) + encode_result(push)
        )

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        await link.shake_hands(b"c" * 16)
    assert link.init_type == 0x0D
    await link.aclose()


async def test_a_cancelled_handshake_closes_the_connection() -> None:
    """The server sees its end."""
    ours, theirs = memory_stream_pair()
    link = Link(StreamTransport(ours), FakeOwner(), heartbeat=HEARTBEAT)
    with trio.move_on_after(0):
        await link.shake_hands(b"c" * 16)
    while await theirs.receive_some():
        pass


# Writing.


async def test_a_lone_command_is_written_at_once() -> None:
    """Without a pass of the scheduler in between."""
    async with running() as world:
        command = lock(world.link)
        world.link.post(command)
        assert world.transport.writes == [encode_command(command)]


async def test_commands_of_one_pass_are_written_together() -> None:
    """The first goes at once, the others wait for the writer, in order."""
    async with running() as world:
        commands = [lock(world.link) for _ in range(4)]
        for command in commands:
            world.link.post(command)
        assert world.link.load == 3
        await wait_all_tasks_blocked()
        first, *rest = map(encode_command, commands)
        assert world.transport.writes == [first, b"".join(rest)]
        assert (world.link.load, world.owner.load_reductions) == (0, 1)


async def test_a_host_loop_writes_what_is_collected() -> None:
    """In its next pass, at once for a single command; what is left, trio writes."""
    async with running() as world:
        due: list[Callable[[], object]] = []
        world.link.write_by(due.append)
        commands = [lock(world.link) for _ in range(4)]
        for command in commands:
            world.link.post(command)
        await wait_all_tasks_blocked()
        first, *rest = map(encode_command, commands)
        assert world.transport.writes == [first]
        (flush,) = due
        world.transport.accepts = 10
        flush()
        assert world.transport.writes[1] == b"".join(rest)
        await wait_all_tasks_blocked()
        # 10 bytes of each write are taken; a stream gets what is left at the end.
        assert bytes(world.transport.rest) == b"".join(rest)[20:]
        # Nothing is left to be written, and nothing is by a link that has ended.
        world.transport.writes.clear()
        flush()
        world.transport.accepts = None
        for command in commands[:2]:
            world.link.post(command)
        world.link._break(ConnectionLost("cut"))
        flush()
        assert len(world.transport.writes) <= 1


async def test_a_busy_link_does_not_write_at_once() -> None:
    """After a read with several replies, the next commands are collected."""
    async with running() as world:
        strays = [answer(lock(world.link), 8) for _ in range(2)]
        await world.receive(*strays)
        command = lock(world.link)
        world.link.post(command)
        assert world.transport.writes == []
        await wait_all_tasks_blocked()
        assert world.transport.writes == [encode_command(command)]


async def test_what_the_kernel_does_not_take_is_written_later() -> None:
    """In one piece with what follows, and nothing twice."""
    async with running() as world:
        world.transport.accepts = 10
        command = lock(world.link)
        world.link.post(command)
        # A frame that was written in part counts as sent.
        assert not world.link.retract(command)
        await wait_all_tasks_blocked()
        first, rest = world.transport.writes
        assert first + rest == encode_command(command) + encode_command(command)[10:]
        assert bytes(world.transport.rest) == encode_command(command)[20:]


async def test_a_command_that_is_not_written_can_be_retracted() -> None:
    """It never reaches the server; one that was written cannot be."""
    async with running() as world:
        sent, dropped, kept = (lock(world.link) for _ in range(3))
        for command in (sent, dropped, kept):
            world.link.post(command)
        assert not world.link.retract(sent)
        assert world.link.retract(dropped)
        assert not world.link.retract(dropped)
        await wait_all_tasks_blocked()
        assert b"".join(world.transport.writes) == encode_command(
            sent
        ) + encode_command(kept)
        assert not world.link.retract(kept)


async def test_a_failing_write_ends_the_link() -> None:
    """The caller gets no error: the end of the connection reaches its entry."""
    async with running() as world:

        def broken(data: bytes | memoryview) -> int:
            raise BrokenPipeError("gone")

        world.transport.send_nowait = broken  # type: ignore[method-assign]
        world.link.post(lock(world.link))
        await wait_all_tasks_blocked()
        assert isinstance(world.link.ended_by, BrokenPipeError)
        assert world.transport.closed
        assert "ended by BrokenPipeError" in repr(world.link)


# Reading.


async def test_plain_grants_of_prepared_locks_need_no_result() -> None:
    """The task wakes with None, and the grant is on record."""
    async with running() as world:
        command = lock(world.link)
        prepared = PreparedLock(command, command._replace(type=2))
        woken: list[LockResult | None] = []

        async def take() -> None:
            entry = PendingPreparedLock(
                world.link, prepared, command.request_id, Holder(), current_task()
            )
            world.link.post_lock(prepared, command.request_id)
            world.link.locks[command.request_id] = entry
            woken.append(await wait_task_rescheduled(entry.abort))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(take)
            await wait_all_tasks_blocked()
            await world.receive(answer(command, 0))
        assert woken == [None]
        assert world.link.holds(command.request_id)


@pytest.mark.parametrize("size", [1, 128, 129, 1000])
async def test_every_result_of_a_read_is_delivered(size: int) -> None:
    """Few of them at once, many of them in batches; each task gets its own."""
    async with running() as world, trio.open_nursery() as nursery:
        commands = [lock(world.link) for _ in range(size)]
        for command in commands:
            nursery.start_soon(world.acquire, command)
        await wait_all_tasks_blocked()
        await world.receive(*(answer(command, 0) for command in commands))
        ids = [each.request_id for each in world.results if each is not None]
        assert sorted(ids) == sorted(command.request_id for command in commands)
        assert world.link.in_flight == 0


async def test_functions_that_take_long_get_small_batches(
    mock_clock: MockClock,
) -> None:
    """What the results of waits without a task cause belongs to the pass."""
    async with running() as world:
        ended = 0

        def end(_: object) -> None:
            nonlocal ended
            ended += 1
            mock_clock.jump(0.001)

        commands = [lock(world.link) for _ in range(600)]
        for command in commands:
            entry = PendingCallback(world.link, command, end)
            world.link.register(command, entry)
        wire = b"".join(encode_result(answer(command, 0)) for command in commands)
        await world.transport.feed.send(wire)
        seen = [0]
        while ended < len(commands):
            seen.append(ended)
            await trio.lowlevel.checkpoint()
        batches = [after - before for before, after in pairwise(seen)]
        assert max(batches) <= 32
        assert max(batches[-20:]) <= 16


async def test_a_large_read_leaves_passes_to_other_tasks() -> None:
    """Other tasks run while its results are delivered."""
    async with running() as world, trio.open_nursery() as nursery:
        commands = [lock(world.link) for _ in range(600)]
        for command in commands:
            nursery.start_soon(world.acquire, command)
        await wait_all_tasks_blocked()
        wire = b"".join(encode_result(answer(command, 0)) for command in commands)
        await world.transport.feed.send(wire)
        seen = [0]
        while len(world.results) < len(commands):
            seen.append(len(world.results))
            await trio.lowlevel.checkpoint()
        # Within a pass the order of tasks is random: at most two batches between looks.
        assert max(after - before for before, after in pairwise(seen)) <= 2 * 128


async def test_a_large_read_of_prepared_locks_is_delivered() -> None:
    """Each task is told of its grant, beside results of other kinds, in batches."""
    async with running() as world, trio.open_nursery() as nursery:
        woken: list[LockResult | None] = []
        commands = [lock(world.link) for _ in range(300)]
        prepared = PreparedLock(commands[0], commands[0]._replace(type=2))

        async def take(attempt: bytes) -> None:
            entry = PendingPreparedLock(
                world.link, prepared, attempt, Holder(), current_task()
            )
            world.link.post_lock(prepared, attempt)
            world.link.locks[attempt] = entry
            woken.append(await wait_task_rescheduled(entry.abort))

        for number, command in enumerate(commands):
            if number % 3:
                nursery.start_soon(take, command.request_id)
            else:
                nursery.start_soon(world.acquire, command)
        await wait_all_tasks_blocked()
        # Every other plain command is refused, so no plain success.
        codes = [(number % 6 == 0) * 5 for number in range(300)]
        await world.receive(
            *(answer(each, code) for each, code in zip(commands, codes, strict=True))
        )
        assert woken == [None] * 200
        results = [each.result for each in world.results if each is not None]
        assert sorted(results) == [0] * 50 + [5] * 50
        assert world.link.in_flight == 0


async def test_a_link_that_breaks_in_a_large_read_hands_over_the_rest() -> None:
    """What was read before the end reaches its task, whatever ended the link."""
    async with running() as world, trio.open_nursery() as nursery:
        commands = [lock(world.link) for _ in range(200)]
        for command in commands:
            nursery.start_soon(world.acquire, command)
        await wait_all_tasks_blocked()

        class Breaking(Holder):
            def lost(self, reason: LossReason) -> None:
                world.link._break(ConnectionLost("the holder ends it"))

        world.link.held[attempt_of(commands[0].request_id)] = PendingLock(
            world.link, commands[0], Breaking(), current_task(), True
        )
        world.link._queue.add(answer(commands[0], EXPIRED))
        for command in commands:
            world.link._queue.add(encode_result(answer(command, 0)))
        world.link._deliver_queued(500)
        await wait_all_tasks_blocked()
        assert len(world.results) == 200


async def test_queued_results_are_delivered_before_the_end() -> None:
    """They came before the connection ended."""
    async with running() as world, trio.open_nursery() as nursery:
        commands = [lock(world.link) for _ in range(200)]
        for command in commands:
            nursery.start_soon(world.acquire, command)
        await wait_all_tasks_blocked()
        wire = b"".join(encode_result(answer(command, 0)) for command in commands)
        world.transport.feed.send_nowait(wire)
        world.transport.feed.send_nowait(b"")
        await wait_all_tasks_blocked()
        assert len(world.results) == 200
        assert isinstance(world.link.ended_by, ConnectionLost)


async def test_garbage_ends_the_link() -> None:
    """With the error that names it."""
    async with running() as world:
        await world.transport.feed.send(b"HTTP/1.1 400 Bad Request\r\n" + bytes(64))
        await wait_all_tasks_blocked()
        assert isinstance(world.link.ended_by, RemoteProtocolError)


# Heartbeat.


async def test_a_silent_server_is_asked_and_then_given_up(
    autojump_clock: MockClock,
) -> None:
    """After one heartbeat a PING, after two the connection is lost."""
    async with running() as world:
        began_at = trio.current_time()
        await trio.sleep(HEARTBEAT + 0.1)
        (ping,) = world.transport.writes
        assert (ping[2], len(ping)) == (int(CommandType.PING), FRAME_SIZE)
        await trio.sleep(HEARTBEAT)
        assert trio.current_time() - began_at < 2.1 * HEARTBEAT
        assert "sent nothing for 8 s" in str(world.link.ended_by)


async def test_any_byte_proves_that_the_server_lives(
    autojump_clock: MockClock,
) -> None:
    """The answer to a PING may be behind much data; half a frame is enough."""
    async with running() as world:
        await trio.sleep(HEARTBEAT + 1)
        await world.transport.feed.send(encode_result(answer(lock(world.link), 8))[:20])
        await trio.sleep(HEARTBEAT)
        assert world.link.ended_by is None


async def test_traffic_delays_the_heartbeat(autojump_clock: MockClock) -> None:
    """No PING while results arrive; the round trip is that of the last PING."""
    async with running() as world:
        for _ in range(5):
            await trio.sleep(HEARTBEAT - 1)
            await world.receive(answer(lock(world.link), 8))
        assert world.transport.writes == []
        assert world.link.round_trip is None
        await trio.sleep(HEARTBEAT + 0.1)
        (ping,) = world.transport.writes
        await trio.sleep(0.4)
        await world.receive(PlainResult(int(CommandType.PING), ping[3:19], 0))
        assert world.link.round_trip == pytest.approx(0.5)
        assert ping[2] != LOCK
