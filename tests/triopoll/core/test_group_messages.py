"""Messages to groups, over an engine in this process, on a clock that jumps."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import trio
from tests.triopoll.logrig import LIMIT, SlockRig, open_rig
from trio.testing import MockClock, wait_all_tasks_blocked

import trioslock
from triopoll.core.group_messages import GroupMessages
from triopoll.core.outcomes import Failure, KeptMessage, MissingMessage, NothingYet
from triopoll.core.poll_query import GroupCreation, GroupPoll, GroupSending
from triopoll.store import MemoryValues, StoreFailed, StoreUnreachable
from trioslock.host import EngineHost

LOCK = "polling:group:message:g"


class FaultyValues(MemoryValues):
    """Values that cannot be had, or be stored; `fails_at` counts down to the fault."""

    fault: Exception | None = None
    fails_at = 0

    def check(self) -> None:
        self.fails_at -= 1
        if self.fault is not None and self.fails_at < 0:
            raise self.fault

    async def get(self, name: str) -> bytes | None:
        self.check()
        return await super().get(name)

    async def put(self, name: str, value: bytes, ttl: float) -> None:
        self.check()
        await super().put(name, value, ttl)


class Rig(SlockRig):
    """Group messages and all that they use."""

    def __init__(self, client: trioslock.Client, host: EngineHost) -> None:
        super().__init__(client, host, max_waits=2)
        self.store_in(FaultyValues())

    def store_in(self, values: FaultyValues) -> None:
        self.values = values
        self.groups = GroupMessages(
            self.client, values, self.waits, self.monitor, LIMIT, self.metrics
        )

    async def send(self, text: bytes, lease: float = 60) -> int | Failure:
        return await self.groups.send(GroupSending("g", lease), text)

    async def wait(
        self, number: int, seconds: float = 30, *, renews: bool = True
    ) -> object:
        poll = GroupPoll("g", number, seconds, 60, renews)
        return await self.groups.wait(poll)


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    async with open_rig(Rig) as rig:
        yield rig
        assert await rig.waiting() == 0
        assert not await rig.client.lock(LOCK).locked()


async def test_every_message_in_order(autojump_clock: MockClock, rig: Rig) -> None:
    """A member that polls one number after the other misses none, however slow."""
    got: list[object] = []

    async def member(pause: float) -> None:
        for number in range(1, 21):
            message = await rig.wait(number)
            assert message == KeptMessage(b"%d" % number)
            got.append(message)
            await trio.sleep(pause)

    assert await rig.send(b"1") == 1
    async with trio.open_nursery() as nursery:
        nursery.start_soon(member, 0)
        nursery.start_soon(member, 0.7)
        for number in range(2, 21):
            await trio.sleep(0.3)
            assert await rig.send(b"%d" % number) == number
    assert len(got) == 40


async def test_many_senders_at_once(autojump_clock: MockClock, rig: Rig) -> None:
    """Each message has a number of its own."""
    numbers: dict[int | Failure, bytes] = {}

    async def send(text: bytes) -> None:
        numbers[await rig.send(text)] = text

    async with trio.open_nursery() as nursery:
        for n in range(30):
            nursery.start_soon(send, b"%d" % n)
    assert sorted(n for n in numbers if isinstance(n, int)) == list(range(1, 31))
    for number, text in numbers.items():
        assert isinstance(number, int)
        assert await rig.wait(number) == KeptMessage(text)


async def test_nothing_comes(autojump_clock: MockClock, rig: Rig) -> None:
    """The poll ends at its timeout; with a timeout of 0 it only reads."""
    await rig.groups.create(GroupCreation("g", 3, 60))
    assert await rig.wait(3, 7.5) == NothingYet()
    assert trio.current_time() == pytest.approx(7.5)
    assert await rig.wait(3, 0) == NothingYet()
    assert trio.current_time() == pytest.approx(7.5)
    assert await rig.send(b"3") == 3
    assert await rig.wait(3, 0) == KeptMessage(b"3")


async def test_what_is_past_and_gone(autojump_clock: MockClock, rig: Rig) -> None:
    """It is answered after half a second, so that a client that repeats is not hot."""
    for number in (1, 2):
        assert await rig.send(b"%d" % number) == number
    assert await rig.wait(0) == MissingMessage()
    assert 0.4 < trio.current_time() < 0.6
    assert rig.metrics.waits["group"].empty_wakes == 1
    await trio.sleep(121)
    assert await rig.wait(1) == MissingMessage()


async def test_a_lapsed_group_goes_on_from_where_it_was(
    autojump_clock: MockClock, rig: Rig
) -> None:
    """Or a new message would have the number of an old one."""
    assert await rig.send(b"1") == 1
    assert await rig.send(b"2") == 2
    await trio.sleep(3600)
    assert await rig.client.group_event("g", ttl=60).is_set()
    assert await rig.wait(3) == MissingMessage()
    assert await rig.send(b"3") == 3
    assert await rig.wait(3) == KeptMessage(b"3")


@pytest.mark.parametrize("memory", [b"x", b"-1", b"4294967295", 11 * b"1", b""])
async def test_what_is_remembered_is_no_number(
    autojump_clock: MockClock, rig: Rig, memory: bytes
) -> None:
    """A value that another program stored counts as no value."""
    await rig.values.put("polling:group:message:g:next", memory, 60)
    assert await rig.send(b"1") == 1


async def test_waits_renew_the_group(autojump_clock: MockClock, rig: Rig) -> None:
    """Unless the poll asks not to."""
    await rig.groups.create(GroupCreation("g", 0, 60))
    for _ in range(4):
        assert await rig.wait(0, 50) == NothingYet()
    group = rig.client.group_event("g", ttl=60)
    assert not await group.is_set()
    assert await rig.wait(0, 50, renews=False) == NothingYet()
    assert await rig.wait(0, 50, renews=False) == MissingMessage()
    assert await group.is_set()


async def test_each_message_renews_the_group(
    autojump_clock: MockClock, rig: Rig
) -> None:
    """For the sender's lease, not for its creator's."""
    await rig.groups.create(GroupCreation("g", 5, 60))
    assert await rig.send(b"5", 300) == 5
    await trio.sleep(250)
    assert not await rig.client.group_event("g", ttl=60).is_set()
    assert await rig.send(b"6", 60) == 6
    await trio.sleep(50)
    assert not await rig.client.group_event("g", ttl=60).is_set()


async def test_creation(autojump_clock: MockClock, rig: Rig) -> None:
    """What there is stays as it is."""
    assert await rig.groups.create(GroupCreation("g", 4, 60)) == 4
    assert await rig.send(b"4") == 4
    assert await rig.groups.create(GroupCreation("g", 4, 60)) == 5
    assert await rig.groups.create(GroupCreation("g", 9, 60)) == 5
    assert await rig.send(b"5") == 5


async def test_creation_says_where_to_begin(
    autojump_clock: MockClock, rig: Rig
) -> None:
    """Also after a group of that name that has lapsed."""
    for number in (1, 2, 3):
        assert await rig.send(b"old") == number
    await trio.sleep(3600)
    assert await rig.groups.create(GroupCreation("g", 0, 60)) == 0
    assert await rig.send(b"new") == 0


async def test_a_group_that_is_advanced_without_the_lock(
    autojump_clock: MockClock, rig: Rig
) -> None:
    """A message is stored under the number that it got after all."""
    group = rig.client.group_event("g", ttl=60)
    await group.clear()

    class Meddled(FaultyValues):
        async def put(self, name: str, value: bytes, ttl: float) -> None:
            await super().put(name, value, ttl)
            if name.endswith(":0"):
                await group.wakeup()

    rig.store_in(Meddled())
    assert await rig.send(b"mine") == 1
    assert await rig.wait(1) == KeptMessage(b"mine")


async def test_a_group_that_lapses_while_a_message_is_stored(
    autojump_clock: MockClock, rig: Rig
) -> None:
    """It is created again under the same number."""
    group = rig.client.group_event("g", ttl=60)

    class Meddled(FaultyValues):
        async def put(self, name: str, value: bytes, ttl: float) -> None:
            await super().put(name, value, ttl)
            if name.endswith(":1"):
                await group.set()

    rig.store_in(Meddled())
    assert await rig.send(b"1") == 1
    assert await rig.wait(1) == KeptMessage(b"1")
    assert await rig.send(b"2") == 2


async def test_the_drain_ends_a_wait(autojump_clock: MockClock, rig: Rig) -> None:
    """As if nothing had come, which makes the client poll again."""
    await rig.groups.create(GroupCreation("g", 0, 60))

    async def drain_soon() -> None:
        await trio.sleep(1)
        await rig.drain.release(0)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(drain_soon)
        assert await rig.wait(0) == NothingYet()
    assert trio.current_time() == pytest.approx(1)


async def test_slock_is_down(autojump_clock: MockClock, rig: Rig) -> None:
    """No wait is parked, and nothing is stored."""
    rig.monitor.up = False
    assert await rig.wait(0) is Failure.SLOCK_UNREACHABLE
    assert await rig.send(b"1") is Failure.SLOCK_UNREACHABLE
    assert trio.current_time() == 0
    assert await rig.values.get("polling:group:message:g:1") is None


async def test_a_closed_client(autojump_clock: MockClock) -> None:
    """A request during the shutdown is answered that slock is unreachable."""
    async with open_rig(Rig) as rig:
        pass
    assert await rig.wait(0) is Failure.SLOCK_UNREACHABLE
    assert await rig.send(b"1") is Failure.SLOCK_UNREACHABLE
    creation = GroupCreation("g", 0, 60)
    assert await rig.groups.create(creation) is Failure.SLOCK_UNREACHABLE
    assert rig.metrics.backend_errors == {("slock", "unreachable"): 3}


async def test_the_process_is_full(autojump_clock: MockClock, rig: Rig) -> None:
    """The poll is refused, those that wait go on."""
    await rig.groups.create(GroupCreation("g", 0, 60))
    async with trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(rig.wait, 0)
        await wait_all_tasks_blocked()
        assert await rig.wait(0) is Failure.TOO_MANY_WAITS
        nursery.cancel_scope.cancel()


async def test_a_sender_that_does_not_let_go(
    autojump_clock: MockClock, rig: Rig
) -> None:
    """Others wait for as long as an answer may take, and no longer."""
    async with rig.client.lock(LOCK, lease=60):
        assert await rig.send(b"1") is Failure.SLOCK_REFUSED
        assert trio.current_time() == pytest.approx(LIMIT)
    assert await rig.send(b"1") == 1


async def test_a_lock_that_is_no_group(autojump_clock: MockClock, rig: Rig) -> None:
    """slock refuses, and the senders' lock is released."""
    lock = rig.client.lock("g", lease=60)
    async with lock as grant:
        assert await rig.send(b"1") is Failure.SLOCK_REFUSED
        creation = GroupCreation("g", 0, 60)
        assert await rig.groups.create(creation) is Failure.SLOCK_REFUSED
        holder = await lock.show()
        assert holder is not None
        assert holder.lock_id == grant.lock_id


async def test_a_flushed_database(autojump_clock: MockClock, rig: Rig) -> None:
    """The server ends the wait with an error, which is not a timeout."""
    await rig.groups.create(GroupCreation("g", 0, 60))
    outcomes: list[object] = []

    async def poll() -> None:
        outcomes.append(await rig.wait(0))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(poll)
        await wait_all_tasks_blocked()
        rig.peer.flush_database(0)
    assert outcomes == [Failure.SLOCK_REFUSED]


@pytest.mark.parametrize(
    ("fault", "failure"),
    [
        (StoreUnreachable("away"), Failure.STORE_UNREACHABLE),
        (StoreFailed("no text"), Failure.STORE_FAILED),
    ],
)
async def test_the_store_fails(
    autojump_clock: MockClock, rig: Rig, fault: Exception, failure: Failure
) -> None:
    """Wherever it does: before it is sent a message is not; afterwards it is."""
    rig.values.fault = fault
    outcomes = []
    for step in range(4):
        rig.values.fails_at = step
        outcomes.append(await rig.send(b"1"))
    # What is known of the group, the message, and what comes next.
    assert outcomes == [failure, failure, 1, 2]
    rig.values.fails_at = 0
    assert await rig.wait(1) is failure
    assert await rig.wait(1, 0) is failure
    rig.values.fault = None
    assert await rig.wait(2) == KeptMessage(b"1")


async def test_a_sender_that_leaves_at_every_checkpoint(
    autojump_clock: MockClock,
) -> None:
    """Wherever: the lock is released, and a stored message has woken its waits."""
    sent = 0
    for steps in range(40):
        async with open_rig(Rig) as rig:
            assert await rig.send(b"1") == 1
            outcomes: list[object] = []

            async def send(rig: Rig, outcomes: list[object], steps: int) -> None:
                async with trio.open_nursery() as nursery:
                    if steps == 0:
                        nursery.cancel_scope.cancel()
                    nursery.start_soon(leave, nursery.cancel_scope, steps)
                    outcomes.append(await rig.send(b"2"))

            async def leave(scope: trio.CancelScope, steps: int) -> None:
                for _ in range(steps):
                    await trio.lowlevel.cancel_shielded_checkpoint()
                scope.cancel()

            await send(rig, outcomes, steps)
            assert not await rig.client.lock(LOCK).locked()
            stored = await rig.values.get("polling:group:message:g:2")
            group = rig.client.group_event("g", version=2, ttl=60)
            with trio.move_on_after(0.1) as scope:
                await group.wait()
            assert scope.cancelled_caught == (stored is None)
            sent += stored is not None
            assert await rig.send(b"3") == (2 if stored is None else 3)
    assert 0 < sent < 40


async def test_a_reader_that_leaves_at_every_checkpoint(
    autojump_clock: MockClock,
) -> None:
    """No waiter is left."""
    for steps in range(1, 30):
        async with open_rig(Rig) as rig:
            await rig.groups.create(GroupCreation("g", 0, 60))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(rig.wait, 0)
                await rig.send(b"0") if steps % 2 else None
                for _ in range(steps):
                    await trio.lowlevel.cancel_shielded_checkpoint()
                nursery.cancel_scope.cancel()
            assert (await rig.client.state()).waiting == 0
            assert len(rig.waits) == 0
