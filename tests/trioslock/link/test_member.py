"""The link to one member: its reports, and what a void link does."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
import trio
from tests.trioslock.link.parts import FakeOwner, Holder
from trio.lowlevel import Abort, current_task, wait_task_rescheduled
from trio.testing import MockClock, memory_stream_pair, wait_all_tasks_blocked

from trioslock._errors import ConnectionLost
from trioslock.link._entries import PendingPreparedLock
from trioslock.link._member import MemberLink, parse_address
from trioslock.protocol import (
    InitResult,
    LeaderResult,
    LockCommand,
    LockResult,
    PlainCommand,
    PlainResult,
    PreparedLock,
    Result,
    encode_result,
)
from trioslock.transport import StreamTransport

OTHERS = b"\x07" * 16


@dataclass
class RecordingWatcher:
    """Records the reports of a link."""

    reports: list[object] = field(default_factory=list)

    def opened(self, link: MemberLink) -> None:
        self.reports.append("opened")

    def pushed(self, link: MemberLink, init_type: int) -> None:
        self.reports.append(("pushed", init_type))

    def verified(self, link: MemberLink, number: int) -> None:
        self.reports.append(("verified", number))

    def refused(self, link: MemberLink) -> None:
        self.reports.append("refused")

    def broken(self, link: MemberLink, error: Exception) -> None:
        self.reports.append("broken")


@dataclass
class World:
    link: MemberLink
    listener: RecordingWatcher
    server: trio.StapledStream

    async def say(self, *results: Result) -> None:
        await self.server.send_all(b"".join(map(encode_result, results)))
        await wait_all_tasks_blocked()

    async def read(self) -> bytes:
        return bytes(await self.server.receive_some())


@asynccontextmanager
async def serving(listener: RecordingWatcher | None = None) -> AsyncIterator[World]:
    ours, theirs = memory_stream_pair()
    listener = listener or RecordingWatcher()
    link = MemberLink(
        StreamTransport(ours),
        FakeOwner(knows_its_ids=True),
        address=("a", 1),
        watcher=listener,
        heartbeat=1000,
    )
    async with trio.open_nursery() as nursery:
        # It has started when all tasks are blocked.
        nursery.start_soon(link.serve)  # noqa: ASYNC113
        await wait_all_tasks_blocked()
        assert listener.reports.pop() == "opened"
        yield World(link, listener, theirs)
        nursery.cancel_scope.cancel()


def lock(request_id: bytes) -> LockCommand:
    return LockCommand(1, request_id, 0, 0, request_id, b"k" * 16, 9, 0, 9, 0, 0, 0)


def answer(
    command: LockCommand, result: int, *, lock_id: bytes | None = None
) -> LockResult:
    return LockResult(
        command.type,
        command.request_id,
        result,
        0,
        0,
        command.lock_id if lock_id is None else lock_id,
        command.key,
        0,
        0,
        0,
        0,
    )


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("10.0.0.1:5658", ("10.0.0.1", 5658)),
        ("[::1]:5658", ("::1", 5658)),
        ("", None),
        ("host", None),
        (":5658", None),
        ("host:", None),
        ("host:x", None),
        ("host:0", None),
        ("host:65536", None),
        ("host:\u0665", None),
    ],
)
def test_an_address_is_host_and_port(
    text: str, address: tuple[str, int] | None
) -> None:
    """The address that a node names as its leader; anything else is none."""
    assert parse_address(text) == address


async def test_a_void_link_sends_and_delivers_nothing() -> None:
    """Posted commands count as not sent, results are dropped."""
    async with serving() as world:
        link = world.link
        link.post(lock(OTHERS))
        await world.read()
        link.cut("the leader has changed")
        late = lock(b"l" * 16)
        link.post(late)
        link.receive(answer(lock(OTHERS), 0))
        assert link.strays == 1
        assert link.retract(late)
        assert not link.retract(lock(OTHERS))
        await wait_all_tasks_blocked()
        assert await world.read() == b""
        assert world.listener.reports == []
        assert isinstance(link.ended_by, ConnectionLost)


async def test_a_broken_link_is_reported_once() -> None:
    """Also if it is cut afterwards."""
    async with serving() as world:
        await world.server.aclose()
        await wait_all_tasks_blocked()
        world.link.cut("late")
        world.link._break(OSError("later"))
        assert world.listener.reports == ["broken"]
        assert "server closed" in str(world.link.ended_by)


async def test_a_session_holds_on_until_the_link_is_void() -> None:
    """And cuts it when the session itself ends."""
    async with serving() as world:
        with trio.move_on_after(0):
            await world.link.run()
        assert world.link.void
        await world.link.run()


@pytest.mark.parametrize(("result", "undone"), [(10, True), (11, False)])
async def test_a_refused_command_stays_to_be_replayed(
    result: int, undone: bool
) -> None:
    """10 is "not done"; an empty 11 may have reached the leader before it died."""
    async with serving() as world:
        command = lock(OTHERS)
        world.link.post(command)
        await world.read()
        await world.say(answer(command, result, lock_id=bytes(16)))
        assert world.listener.reports == ["refused"]
        assert world.link.retract(command) is undone
        assert world.link.strays == 0


async def test_a_leaders_own_error_is_an_answer() -> None:
    """An acknowledgement that failed is 11 as well, but about a lock."""
    async with serving() as world:
        await world.say(answer(lock(OTHERS), 11))
        assert world.listener.reports == []
        assert world.link.strays == 1


async def test_a_probe_is_answered_by_the_leader() -> None:
    """The key that it releases is free, and only a leader can answer that."""
    async with serving() as world:
        world.link.probe(5)
        frame = await world.read()
        request_id = frame[3:19]
        command = lock(request_id)._replace(type=2)
        await world.say(answer(command, 6))
        assert world.listener.reports == [("verified", 5)]
        await world.say(answer(command, 6))
        assert world.listener.reports == [("verified", 5)]
        world.link.probe(6)
        refused = lock((await world.read())[3:19])._replace(type=2)
        await world.say(answer(refused, 10))
        assert world.listener.reports == [("verified", 5), "refused"]


async def test_void_counts_within_one_read() -> None:
    """A link that an answer makes void delivers no success of the same read."""

    class Cutter(RecordingWatcher):
        def verified(self, link: MemberLink, number: int) -> None:
            link.cut("the watcher cuts it")

    async with serving(Cutter()) as world:
        link = world.link
        plain = lock(b"p" * 14 + bytes(2))
        prepared = PreparedLock(plain, plain._replace(type=2))

        async def take() -> None:
            entry = PendingPreparedLock(
                link, prepared, plain.request_id, Holder(), current_task()
            )
            link.post_lock(prepared, plain.request_id)
            link.locks[plain.request_id] = entry
            await wait_task_rescheduled(lambda _: Abort.SUCCEEDED)
            raise AssertionError("it was delivered")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(take)
            await wait_all_tasks_blocked()
            assert await world.read() == prepared.lock_frame(plain.request_id)
            link.probe(5)
            probe = lock((await world.read())[3:19])._replace(type=2)
            await world.say(answer(probe, 0), answer(plain, 0))
            assert (link.void, link.strays, link.in_flight) == (True, 1, 1)
            nursery.cancel_scope.cancel()


async def test_replies_without_a_request_are_counted() -> None:
    """Each connection has a client id of its own: none is for another link."""
    async with serving() as world:
        await world.say(*(answer(lock(OTHERS), result) for result in (0, 9, 8, 6)))
        await world.say(answer(lock(OTHERS)._replace(type=2), 0))
        assert world.listener.reports == []
        assert world.link.strays == 5


async def test_roles_are_reported() -> None:
    """One that comes with an error names a leader that cannot be reached."""
    async with serving() as world:
        await world.say(InitResult(OTHERS, 0, 0x09), InitResult(OTHERS, 10, 0x0A))
        assert world.listener.reports == [("pushed", 0x09), ("pushed", 0)]
        assert world.link.init_type == 0


@pytest.mark.parametrize(
    ("reply", "leader"),
    [
        (lambda id_: LeaderResult(id_, 0, "b:2"), ("b", 2)),
        (lambda id_: LeaderResult(id_, 0, ""), None),
    ],
)
async def test_a_member_names_its_leader(
    reply: Callable[[bytes], Result], leader: tuple[str, int] | None
) -> None:
    """An empty name means the node itself, or no leader."""
    async with serving() as world:
        names: list[tuple[str, int] | None] = []

        async def ask() -> None:
            names.append(await world.link.ask_leader())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await world.say(reply((await world.read())[3:19]))
        assert names == [leader]


async def test_silence_breaks_the_link(autojump_clock: MockClock) -> None:
    """As that of any link: the heartbeat is the same."""
    async with serving() as world:
        await trio.sleep(1000.5)
        ping = await world.read()
        assert ping[2] == PlainCommand(5, OTHERS).type
        await world.say(PlainResult(5, ping[3:19], 0))
        assert not world.link.void
        await trio.sleep(3000)
        assert world.listener.reports == ["broken"]
