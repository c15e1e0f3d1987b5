"""The poller over an engine in this process, on a clock that jumps."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

import pytest
import trio
from bench.calls import CallCounter, mark_task
from tests.triopoll.logrig import SlockRig, open_rig
from trio.testing import MockClock, wait_all_tasks_blocked

import trioslock
from triopoll.api.poll.query import parse_poll
from triopoll.asgi.query import parse_query
from triopoll.core import poller as poller_module
from triopoll.core.held_keys import HeldKeys
from triopoll.core.outcomes import (
    EventFired,
    Failure,
    NothingYet,
    Outcome,
    PoppedMessage,
)
from triopoll.core.parked_waits import ParkedWaits
from triopoll.core.poll_query import PollQuery
from triopoll.core.poller import Poller
from triopoll.core.slock_backend import SlockMonitor
from triopoll.ops.drain import Drain
from triopoll.settings import Settings
from triopoll.store import Delivery, MemoryStore, StoreFailed, StoreUnreachable
from trioslock import to_key
from trioslock.host import EngineHost
from trioslock.protocol import CommandType, LockCommand

SETTINGS = Settings(max_waits=2)
LOCK = int(CommandType.LOCK)


class FaultyStore(MemoryStore):
    """A store whose pops fail, or hang before or after the message is taken."""

    fault: Exception | str | None = None

    async def pop(self, key: str) -> Delivery | None:
        if isinstance(self.fault, Exception):
            raise self.fault
        if self.fault == "hangs":
            await trio.sleep_forever()
        return await super().pop(key)


class Rig(SlockRig):
    """A poller and all that it uses."""

    def __init__(self, client: trioslock.Client, host: EngineHost) -> None:
        super().__init__(client, host, max_waits=SETTINGS.max_waits)
        self.store = FaultyStore()
        self.poller = Poller(client, self.store, self.waits, self.monitor, SETTINGS)


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    async with open_rig(Rig) as rig:
        yield rig
        assert await rig.waiting() == 0


def query(**changes: object) -> PollQuery:
    return replace(parse_poll(parse_query(b"event=k"), SETTINGS), **changes)  # type: ignore[arg-type]


Wait = Callable[[Poller, PollQuery], Awaitable[Outcome]]
both = pytest.mark.parametrize("wait", [Poller.wait_event, Poller.wait_message])


async def set_soon(rig: Rig, message: bytes | None = None) -> None:
    await trio.sleep(1)
    if message is not None:
        await rig.store.push("k", message)
    await rig.client.event("k", ttl=30).set()


@both
async def test_nothing_comes(autojump_clock: MockClock, rig: Rig, wait: Wait) -> None:
    """The poll ends at its timeout, not before and not after."""
    assert await wait(rig.poller, query(timeout=7.5)) == NothingYet()
    assert trio.current_time() == pytest.approx(7.5)


@both
async def test_the_event_fires(autojump_clock: MockClock, rig: Rig, wait: Wait) -> None:
    """The poll ends at that moment."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(set_soon, rig)
        outcome = await wait(rig.poller, query())
    assert outcome in (EventFired(), PoppedMessage(None, waited=True))
    assert trio.current_time() == pytest.approx(1)


async def test_a_message_comes(autojump_clock: MockClock, rig: Rig) -> None:
    """An empty list, a wait, and a second pop."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(set_soon, rig, b"hello")
        outcome = await rig.poller.wait_message(query())
    assert outcome == PoppedMessage(b"hello", waited=True)


async def test_a_wake_between_the_pop_and_the_wait_is_not_lost(
    autojump_clock: MockClock, rig: Rig
) -> None:
    """An event stays set, so the wait that begins after it ends at once."""
    await rig.client.event("k", ttl=30).set()
    await rig.store.push("other", b"")
    assert await rig.poller.wait_message(query()) == PoppedMessage(None, waited=True)
    assert trio.current_time() == pytest.approx(0)


async def test_a_message_that_is_returned(autojump_clock: MockClock, rig: Rig) -> None:
    """A nack returns it to the head of its list; after an ack it is gone."""
    await rig.store.push("k", b"1")
    await rig.store.push("k", b"2")
    outcome = await rig.poller.wait_message(query())
    assert outcome == PoppedMessage(b"1", waited=False)
    assert isinstance(outcome, PoppedMessage)
    outcome.nack()
    taken = await rig.store.pop("k")
    assert taken is not None
    assert taken.data == b"1"
    outcome.ack()
    outcome.nack()
    taken = await rig.store.pop("k")
    assert taken is not None
    assert taken.data == b"2"


@both
async def test_the_drain_ends_a_wait(
    autojump_clock: MockClock, rig: Rig, wait: Wait
) -> None:
    """As if nothing had come, which makes the client poll again."""

    async def drain_soon() -> None:
        await trio.sleep(1)
        await rig.drain.release(0)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(drain_soon)
        assert await wait(rig.poller, query()) == NothingYet()
    assert trio.current_time() == pytest.approx(1)


async def test_a_drained_poller_still_hands_out_messages(
    autojump_clock: MockClock, rig: Rig
) -> None:
    """What can be answered without a wait is answered."""
    await rig.drain.release(0)
    await rig.store.push("k", b"1")
    assert await rig.poller.wait_message(query()) == PoppedMessage(b"1", waited=False)


@both
async def test_slock_is_down(autojump_clock: MockClock, rig: Rig, wait: Wait) -> None:
    """A poll is not parked while nothing can wake it."""
    rig.monitor.up = False
    assert await wait(rig.poller, query()) is Failure.SLOCK_UNREACHABLE
    assert trio.current_time() == 0


@both
async def test_the_process_is_full(
    autojump_clock: MockClock, rig: Rig, wait: Wait
) -> None:
    """The poll is refused, those that wait go on."""
    async with trio.open_nursery() as nursery:
        for _ in range(SETTINGS.max_waits):
            nursery.start_soon(rig.poller.wait_event, query(key="x"))
        await wait_all_tasks_blocked()
        assert await wait(rig.poller, query()) is Failure.TOO_MANY_WAITS
        assert len(rig.waits) == SETTINGS.max_waits
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("fault", "failure"),
    [
        (StoreUnreachable("away"), Failure.STORE_UNREACHABLE),
        (StoreFailed("no list"), Failure.STORE_FAILED),
        ("hangs", Failure.STORE_UNREACHABLE),
    ],
)
async def test_the_store_fails(
    autojump_clock: MockClock, rig: Rig, fault: object, failure: Failure
) -> None:
    """At the first pop or at the second, within the limit."""
    rig.store.fault = fault  # type: ignore[assignment]
    assert await rig.poller.wait_message(query()) is failure
    assert trio.current_time() <= SETTINGS.backend_limit
    rig.store.fault = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(set_soon, rig)
        await wait_all_tasks_blocked()

        async def poll() -> None:
            assert await rig.poller.wait_message(query()) is failure

        nursery.start_soon(poll)
        await wait_all_tasks_blocked()
        rig.store.fault = fault  # type: ignore[assignment]


async def test_an_event_set_under_another_id_is_reset(
    autojump_clock: MockClock, rig: Rig
) -> None:
    """pyslock pads names on the other side; the next poll must not find it set."""
    lock_id = b"k".ljust(16, b"\0")
    event = LockCommand(LOCK, lock_id, 2, 0, lock_id, to_key("k"), 0, 0, 60, 0, 1, 0)
    rig.peer.submit(event)
    assert await rig.poller.wait_event(query(reset=True)) == EventFired()
    assert await rig.poller.wait_event(query(timeout=0)) == NothingYet()


@pytest.mark.parametrize("default", ["clear", "set"])
async def test_a_lock_of_another_program(
    autojump_clock: MockClock, rig: Rig, default: str
) -> None:
    """A poll that names it does not release it, and does not take a place in it."""
    async with rig.client.semaphore("k", 3, lease=60) as grant:
        await rig.poller.wait_event(query(reset=True, default=default, timeout=1))
        holder = await rig.client.lock("k").show()
        assert holder is not None
        assert holder.lock_id == grant.lock_id
        assert await rig.client.semaphore("k", 3).in_use() == 1


@both
async def test_a_closed_client(autojump_clock: MockClock, wait: Wait) -> None:
    """A poll during the shutdown is answered that slock is unreachable."""
    async with open_rig(Rig) as rig:
        pass
    assert await wait(rig.poller, query()) is Failure.SLOCK_UNREACHABLE
    assert await wait(rig.poller, query(timeout=0)) is Failure.SLOCK_UNREACHABLE


async def test_a_flushed_database(autojump_clock: MockClock, rig: Rig) -> None:
    """The server ends the wait with an error, which is not a timeout."""
    outcomes: list[Outcome] = []

    async def poll() -> None:
        outcomes.append(await rig.poller.wait_event(query()))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(poll)
        await wait_all_tasks_blocked()
        rig.peer.flush_database(0)
    assert outcomes == [Failure.SLOCK_REFUSED]


@pytest.mark.parametrize("reset", [False, True])
@both
async def test_a_departure_at_every_checkpoint(
    autojump_clock: MockClock, wait: Wait, reset: bool
) -> None:
    """Wherever the client leaves: no waiter is left, and no message is lost."""
    for steps in range(1, 60):
        async with open_rig(Rig) as rig:
            await rig.store.push("other", b"")
            outcomes: list[Outcome] = []
            async with trio.open_nursery() as nursery:
                nursery.start_soon(leave_after, steps, rig, wait, reset, outcomes)
                await rig.client.event("k", ttl=30).set()
                await rig.store.push("k", b"1")
            assert await rig.waiting() == 0
            taken = [o.data for o in outcomes if isinstance(o, PoppedMessage)]
            found = await rig.store.pop("k")
            left = None if found is None else found.data
            assert (taken.count(b"1"), left) in [(1, None), (0, b"1")]
            if outcomes:
                return
    raise AssertionError("the poll never got to its end")


async def leave_after(
    steps: int, rig: Rig, wait: Wait, reset: bool, outcomes: list[Outcome]
) -> None:
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:

            async def leave() -> None:
                for _ in range(steps):
                    await trio.lowlevel.checkpoint()
                scope.cancel()

            nursery.start_soon(leave)
            outcomes.append(await wait(rig.poller, query(reset=reset)))
            nursery.cancel_scope.cancel()


async def test_repr(autojump_clock: MockClock, rig: Rig) -> None:
    """It shows what is under way."""
    assert repr(rig.poller) == "<Poller: <ParkedWaits: 0 of 2>, <SlockMonitor: up>>"


async def test_an_event_that_another_client_keeps_clear(
    autojump_clock: MockClock, rig: Rig
) -> None:
    """With default_type=set any holder keeps it clear: there is nothing to do."""
    event = rig.client.event("k", default="set", ttl=30)
    async with rig.client.lock("k", lease=60) as grant:
        await poller_module._clear(event)
        assert (await rig.client.lock("k").show()).lock_id == grant.lock_id


async def test_slock_that_accepts_requests_and_answers_none() -> None:
    """A read fails at the limit, and is no timeout. The clock is the real one."""
    settings = replace(SETTINGS, backend_limit=0.05)
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        port = listener.socket.getsockname()[1]
        async with trioslock.open_client(
            f"slock://127.0.0.1:{port}", wait_connected=False, close_grace=0.01
        ) as client:
            waits = ParkedWaits(Drain(), limit=1)
            monitor = SlockMonitor(client.ping, waits, limit=0.05)
            poller = Poller(client, MemoryStore(), waits, monitor, settings)
            outcome = await poller.wait_event(query(timeout=0))
    assert outcome is Failure.SLOCK_UNREACHABLE


async def test_a_poll_takes_few_calls(autojump_clock: MockClock, rig: Rig) -> None:
    """One that pops nothing, parks, is woken and pops: 31 calls above its backends."""
    counter = CallCounter(resumptions=True, only_marked=True)

    async def poll() -> None:
        mark_task()
        outcome = await rig.poller.wait_message(query())
        assert outcome == PoppedMessage(b"1", waited=True)

    with counter.run():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(poll)
            nursery.start_soon(set_soon, rig, b"1")
    assert counter.within("triopoll.core") <= 26, counter.typical().most_common()
    assert counter.within("triopoll.ops") <= 5, counter.typical().most_common()


# --- empty replies ----------------------------------------------------------------


async def poll_message(rig: Rig, **changes: object) -> Outcome:
    """Poll as the endpoint does."""
    asked, began = query(**changes), trio.current_time()
    outcome = await rig.poller.wait_message(asked)
    if isinstance(outcome, PoppedMessage) and outcome.data is None:
        outcome = await rig.poller.delay_empty(asked, outcome, began)
    return outcome


EMPTY = PoppedMessage(None, waited=True)


async def test_a_loop_over_an_event_that_stays_set(
    autojump_clock: MockClock, rig: Rig
) -> None:
    """It gets its first reply at once, and in the end one a second."""
    await rig.client.event("k", ttl=600).set()
    replies: list[float] = []
    while trio.current_time() < 60:
        assert await poll_message(rig) == EMPTY
        replies.append(trio.current_time())
    assert replies[0] == 0
    assert sum(time < 2 for time in replies) <= 10
    assert len(replies) <= 70


async def test_a_message_that_arrives_during_the_delay(
    autojump_clock: MockClock, rig: Rig
) -> None:
    """It is the reply, within a second; the next empty reply is not delayed."""
    await rig.client.event("k", ttl=600).set()
    for _ in range(20):
        await poll_message(rig)
    began = trio.current_time()

    async def push_soon() -> None:
        await trio.sleep(0.5)
        await rig.store.push("k", b"1")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(push_soon)
        assert await poll_message(rig) == PoppedMessage(b"1", waited=True)
    assert trio.current_time() - began == pytest.approx(1)
    began = trio.current_time()
    assert await poll_message(rig) == EMPTY
    assert trio.current_time() == began


async def test_which_empty_replies_are_not_delayed(
    autojump_clock: MockClock, rig: Rig
) -> None:
    """A poll without a wait, one that resets, and one that has waited for its event."""
    event = rig.client.event("k", ttl=600)
    for _ in range(20):
        await event.set()
        began = trio.current_time()
        assert await poll_message(rig, timeout=0) == EMPTY
        assert await poll_message(rig, reset=True) == EMPTY
        assert trio.current_time() == began
    for _ in range(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(set_soon, rig)
            assert await poll_message(rig) == EMPTY
            assert trio.current_time() == pytest.approx(began + 1)
        await event.clear()
        began = trio.current_time()


async def test_the_delay_ends_with_the_time_of_the_poll(
    autojump_clock: MockClock, rig: Rig
) -> None:
    """Its timeout is the bound of all that it does."""
    await rig.client.event("k", ttl=600).set()
    for _ in range(20):
        began = trio.current_time()
        assert await poll_message(rig, timeout=0.1) == EMPTY
    assert trio.current_time() - began == pytest.approx(0.1)


async def test_the_store_fails_after_the_delay(
    autojump_clock: MockClock, rig: Rig
) -> None:
    """It is reported as at every pop."""
    await rig.client.event("k", ttl=600).set()
    await poll_message(rig)
    asked = query()
    rig.store.fault = StoreUnreachable("away")
    outcome = await rig.poller.delay_empty(asked, EMPTY, trio.current_time())
    assert outcome is Failure.STORE_UNREACHABLE


# --- held keys --------------------------------------------------------------------


async def test_a_visitor_that_resets_ever_new_events(
    autojump_clock: MockClock, rig: Rig
) -> None:
    """What it leaves held on slock is bounded, until the leases end."""
    rig.waits.held = HeldKeys(limit=5, per_visitor=3)
    fired = [
        await rig.poller.wait_event(
            query(key=f"k{n}", default="set", reset=True, timeout=5, lease=10), "a"
        )
        for n in range(9)
    ]
    assert fired == [EventFired()] * 3 + [Failure.TOO_MANY_HELD_KEYS] * 6
    assert (await rig.client.state()).held == 3
    # Nor does one that is refused reset its event.
    for default, reset in (("set", False), ("clear", True)):
        polled = query(key="other", default=default, reset=reset, timeout=0)
        assert not isinstance(await rig.poller.wait_event(polled, "a"), Failure)
    polled = query(key="kb", default="set", reset=True, timeout=5, lease=10)
    assert await rig.poller.wait_event(polled, "b") == EventFired()
    await trio.sleep(15)
    assert await rig.poller.wait_event(polled, "a") == EventFired()
