"""Delivery of delayed messages, over an engine in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import trio
from tests.triopoll.logrig import Faulty, LogRig, delayed_of, messages, open_log_rig
from trio.testing import MockClock, wait_all_tasks_blocked

from triopoll.core import delayed as module
from triopoll.core.delayed import DelayedMessages
from triopoll.core.outcomes import Failure
from triopoll.core.wait_items import ReadResult
from triopoll.store import (
    ALL,
    NEW,
    DelayedMessage,
    Delivered,
    DueMessages,
    MemoryDelayed,
    MemoryLog,
    NewMessage,
    PendingLimits,
    StoreFailed,
    StoreUnreachable,
)

START = 1_700_000_000.0


class CountingStore(Faulty, MemoryDelayed):
    """Delayed messages whose looks are counted, and which fail or hang on demand.

    Attributes:
        looks: How often it was looked at.
    """

    looks = 0

    async def look(self) -> DueMessages:
        self.looks += 1
        await self.stumble()
        return await super().look()

    async def deliver(self, key: str, due: object) -> list[Delivered]:
        await self.stumble()
        return await super().deliver(key, due)  # type: ignore[arg-type]


class Workers:
    """Two workers with one store, whose clock is trio's."""

    def __init__(self, rig: LogRig) -> None:
        self.rig = rig
        self.log = MemoryLog(clock=now)
        rig.log._clock = now
        self.store = CountingStore(rig.log, clock=now)
        self.one = delayed_of(rig, self.store)
        self.two = delayed_of(rig, self.store)

    async def schedule(
        self, worker: DelayedMessages, name: str, seconds: float, key: str = "k"
    ) -> None:
        message = DelayedMessage(NewMessage(key, name.encode(), name), seconds)
        await worker.schedule([message])
        await worker.announce(5)

    async def data(self, key: str = "k") -> list[bytes]:
        result = await messages(self.rig, key, ALL, 999, 0)
        assert isinstance(result, ReadResult)
        return [message.data for message in result.page.messages]


def now() -> float:
    return START + trio.current_time()


@asynccontextmanager
async def open_workers() -> AsyncIterator[Workers]:
    async with open_log_rig() as rig, trio.open_nursery() as nursery:
        workers = Workers(rig)
        nursery.start_soon(workers.one.run)
        nursery.start_soon(workers.two.run)
        await wait_all_tasks_blocked()
        yield workers
        nursery.cancel_scope.cancel()


async def until(condition: Callable[[], bool], limit: float = 60) -> float:
    """Return how long it took until the condition held, by the clock that jumps."""
    since = trio.current_time()
    with trio.fail_after(limit):
        while not condition():  # noqa: ASYNC110  # the clock jumps
            await trio.sleep(0.005)
    return trio.current_time() - since


async def test_what_is_not_used_costs_a_look_each_half_minute(
    autojump_clock: MockClock,
) -> None:
    """Nothing is held or waits on slock."""
    async with open_workers() as workers:
        before = await workers.rig.client.keys()
        await trio.sleep(299)
        assert workers.store.looks <= 2 * (1 + 300 / 24)
        assert await workers.rig.waiting() == 0
        assert await workers.rig.client.keys() == before == []


async def test_a_message_is_delivered_in_time_by_one_worker(
    autojump_clock: MockClock, no_sweep: None
) -> None:
    """Its readers are woken."""
    async with open_workers() as workers:
        await workers.schedule(workers.one, "a", 40)
        await workers.schedule(workers.two, "b", 20)
        found = await messages(workers.rig, "k", NEW, 9, 30)
        assert isinstance(found, ReadResult)
        assert [each.data for each in found.page.messages] == [b"b"]
        assert trio.current_time() == pytest.approx(20, abs=0.5)
        assert await workers.data() == [b"b"]
        await trio.sleep(21)
        assert await workers.data() == [b"b", b"a"]
        metrics = workers.rig.metrics
        assert metrics.delayed == {"scheduled": 2, "delivered": 2}
        assert metrics.delayed_late.total < 1
        deliverers = [each for each in (workers.one, workers.two) if each._has_lock]
        assert len(deliverers) == 1
        assert repr(deliverers[0]) == "<DelayedMessages: delivers, 0 pending>"


async def test_an_earlier_message_wakes_the_worker_that_delivers(
    autojump_clock: MockClock, no_sweep: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever worker has stored it, and without a look in between."""
    monkeypatch.setattr(module, "_LOOK", 1000.0)
    async with open_workers() as workers:
        await workers.schedule(workers.one, "a", 800)
        await until(lambda: workers.one._has_lock)
        await trio.sleep(1)
        looks = workers.store.looks
        await workers.schedule(workers.two, "b", 100)
        await workers.schedule(workers.one, "c", 50)
        assert workers.one.pending <= 3
        assert await until(lambda: workers.rig.metrics.delayed["delivered"] == 1) < 51
        assert await until(lambda: workers.rig.metrics.delayed["delivered"] == 2) < 51
        # The second worker has looked because the feature is used now, not more often.
        assert workers.store.looks - looks < 25


async def test_a_wake_that_is_lost(autojump_clock: MockClock) -> None:
    """The worker looks by itself after some seconds."""
    async with open_workers() as workers:
        await workers.schedule(workers.one, "a", 800)
        await until(lambda: workers.one._has_lock)
        message = DelayedMessage(NewMessage("k", b"b", "b"), 0)
        await workers.two.schedule([message])
        took = await until(lambda: workers.rig.metrics.delayed["delivered"] == 1)
        assert took <= module._LOOK + 1


async def test_another_worker_takes_over(autojump_clock: MockClock) -> None:
    """One that has found the messages of others itself."""
    async with open_log_rig() as rig, trio.open_nursery() as nursery:
        workers = Workers(rig)
        with trio.CancelScope() as life:
            async with trio.open_nursery() as inner:
                inner.start_soon(workers.one.run)
                await workers.schedule(workers.one, "a", 60)
                await until(lambda: workers.one._has_lock)
                life.cancel()
        assert not workers.one._has_lock
        nursery.start_soon(workers.two.run)
        assert await until(lambda: rig.metrics.delayed["delivered"] == 1, 70) <= 61
        assert workers.two._has_lock
        nursery.cancel_scope.cancel()


async def test_slock_is_away(autojump_clock: MockClock, no_sweep: None) -> None:
    """Both workers deliver, each message once; afterwards one has the lock."""
    async with open_workers() as workers:
        workers.rig.monitor.up = False
        for n in range(10):
            worker = workers.one if n % 2 else workers.two
            await workers.schedule(worker, str(n), n)
        await trio.sleep(12)
        assert await workers.data() == [str(n).encode() for n in range(10)]
        assert workers.rig.metrics.delayed["delivered"] == 10
        assert [workers.one._has_lock, workers.two._has_lock] == [False, False]
        workers.rig.monitor.up = True
        await until(lambda: workers.one._has_lock or workers.two._has_lock)


async def test_slock_refuses(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key of the group is held by something else: the worker delivers alone."""
    async with open_workers() as workers:
        name = workers.one._wake_name
        async with workers.rig.client.lock(name):
            await workers.schedule(workers.one, "a", 5)
            took = await until(lambda: workers.rig.metrics.delayed["delivered"] == 1)
            assert took < 7


@pytest.mark.parametrize("fault", [StoreUnreachable("away"), StoreFailed("no"), None])
async def test_the_store_fails(
    autojump_clock: MockClock, fault: Exception | None
) -> None:
    """The worker tries again, once a second; nothing is lost."""
    async with open_workers() as workers:
        await workers.schedule(workers.one, "a", 10)
        await until(lambda: workers.one._has_lock)
        workers.store.fault, workers.store.hangs = fault, fault is None
        looks = workers.store.looks
        await trio.sleep(60)
        assert workers.store.looks - looks < 2 * 62
        assert sum(workers.rig.metrics.backend_errors.values()) > 5
        workers.store.fault, workers.store.hangs = None, False
        await until(lambda: workers.rig.metrics.delayed["delivered"] == 1, 20)


async def test_the_store_fails_before_the_lock(autojump_clock: MockClock) -> None:
    """The place, and so the name of the lock, is not known: the worker asks again."""
    async with open_log_rig() as rig, trio.open_nursery() as nursery:
        workers = Workers(rig)
        await workers.schedule(workers.one, "a", 3)
        workers.store.fault = StoreUnreachable("away")
        nursery.start_soon(workers.one.run)
        await trio.sleep(5)
        assert not workers.one._has_lock
        workers.store.fault = None
        await until(lambda: rig.metrics.delayed["delivered"] == 1, 5)
        assert workers.one._has_lock
        nursery.cancel_scope.cancel()


async def test_what_is_not_scheduled_is_not_counted() -> None:
    """A duplicate, and what was refused."""
    async with open_log_rig() as rig:
        worker = delayed_of(rig, MemoryDelayed(rig.log, PendingLimits(per_key=1)))
        await rig.log.append([NewMessage("k", b"x", "a")])
        drafts = [DelayedMessage(NewMessage("k", b"x", name), 60) for name in "abc"]
        await worker.schedule(drafts)
        assert rig.metrics.delayed == {"scheduled": 1}


async def test_a_log_that_refuses(autojump_clock: MockClock) -> None:
    """Messages of other logs are delivered meanwhile."""

    async with open_workers() as workers:
        deliver = workers.store.deliver

        async def refuse(key: str, due: object) -> list[Delivered]:
            if key == "bad":
                raise StoreFailed("no")
            return await deliver(key, due)

        workers.store.deliver = refuse  # type: ignore[method-assign]
        await workers.schedule(workers.one, "a", 5, "bad")
        await workers.schedule(workers.one, "b", 5, "good")
        await until(lambda: workers.rig.metrics.delayed["delivered"] == 1, 7)
        assert await workers.data("good") == [b"b"]


async def test_another_storage(autojump_clock: MockClock) -> None:
    """A store that was emptied has another name: the lock is that of the new one."""
    async with open_workers() as workers:
        await workers.schedule(workers.one, "a", 800)
        await until(lambda: workers.one._has_lock)
        workers.store._storage = "another"
        await until(lambda: workers.one._storage == "another", 15)
        await until(lambda: workers.one._has_lock or workers.two._has_lock, 15)


async def test_cancelling() -> None:
    """What is answered, and counted."""
    async with open_log_rig() as rig:
        store = MemoryDelayed(rig.log)
        worker = delayed_of(rig, store)
        await worker.schedule([DelayedMessage(NewMessage("k", b"x", "a"), 60)])
        assert await worker.cancel("k", "a") is True
        assert await worker.cancel("k", "a") is False
        assert rig.metrics.delayed["cancelled"] == 1

        async def fail(key: str, name: str) -> bool:
            raise StoreUnreachable("away")

        store.cancel = fail  # type: ignore[method-assign, assignment]
        assert await worker.cancel("k", "a") is Failure.STORE_UNREACHABLE


async def test_a_thousand_with_cancellations(
    autojump_clock: MockClock, no_sweep: None
) -> None:
    """Each is delivered once or never, as told, while workers come and go."""
    async with open_log_rig() as rig, trio.open_nursery() as nursery:
        workers = Workers(rig)
        kept = set[str]()
        for n in range(1000):
            worker = workers.one if n % 2 else workers.two
            await workers.schedule(worker, str(n), 1 + n % 29)
        nursery.start_soon(workers.two.run)
        for n in range(0, 1000, 3):
            with trio.CancelScope(deadline=trio.current_time() + 0.05):
                await workers.one.run()
            if await workers.two.cancel("k", str(n)) is True:
                assert str(n) not in kept
            else:
                kept.add(str(n))
        await trio.sleep(40)
        kept |= {str(n) for n in range(1000) if n % 3}
        found = [each.decode() for each in await workers.data()]
        assert len(found) == len(set(found))
        assert set(found) == kept
        assert 0 < len(kept) < 1000
        nursery.cancel_scope.cancel()
