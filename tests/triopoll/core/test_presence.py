"""What a process reports of its waits, over an engine in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import msgspec
import pytest
import trio
from tests.triopoll.logrig import LIMIT, Faulty, LogRig, messages, open_log_rig
from trio.testing import MockClock, wait_all_tasks_blocked

from triopoll.core.outcomes import Failure
from triopoll.core.presence import Presence
from triopoll.core.wait_items import ReadResult
from triopoll.core.waker import Waker
from triopoll.settings import Settings
from triopoll.store import (
    ALL,
    NEW,
    FoundWaiting,
    MemoryPresence,
    StoreFailed,
    StoreUnreachable,
    Waiting,
    changes_key,
)

SETTINGS = Settings(presence_linger=10, presence_max_waits=400)


class CountingStore(Faulty, MemoryPresence):
    """Who waits, in a store that fails or hangs on demand.

    Attributes:
        reports: How many keys each call has reported.
        looks: How often it was looked at.
    """

    def __init__(self, rig: LogRig) -> None:
        super().__init__(rig.log)
        self.reports: list[int] = []
        self.looks = 0

    async def report(self, waiting: Mapping[str, Waiting]) -> list[str]:
        self.reports.append(len(waiting))
        await self.stumble()
        if "!refused" in waiting:
            raise StoreFailed("this key is something else")
        return await super().report(waiting)

    async def look(
        self, keys: Sequence[str], *, record: bool = False
    ) -> list[FoundWaiting]:
        self.looks += 1
        await self.stumble()
        return await super().look(keys, record=record)


class Worker:
    """One process."""

    def __init__(self, rig: LogRig) -> None:
        self.rig = rig
        self.store = CountingStore(rig)
        waker = Waker(rig.notifier, rig.monitor, rig.metrics, LIMIT)
        self.presence = Presence(
            *(self.store, waker, rig.metrics, SETTINGS),
            keeps=lambda key: not key.startswith("private"),
        )

    async def changes(self, cursor: str, seconds: float) -> list[dict[str, object]]:
        result = await messages(self.rig, changes_key("k"), cursor, 99, seconds)
        assert isinstance(result, ReadResult)
        return [msgspec.json.decode(each.data) for each in result.page.messages]


@asynccontextmanager
async def open_worker() -> AsyncIterator[Worker]:
    async with open_log_rig() as rig, trio.open_nursery() as nursery:
        worker = Worker(rig)
        nursery.start_soon(worker.presence.run)
        await wait_all_tasks_blocked()
        yield worker
        nursery.cancel_scope.cancel()


async def test_a_wait_is_there_until_its_linger_is_over(
    autojump_clock: MockClock, no_sweep: None
) -> None:
    """A poll that follows in time changes nothing."""
    async with open_worker() as worker:
        presence = worker.presence
        first = presence.attend(["k"], "ann")
        first.begin()
        await trio.sleep(1.5)
        assert await presence.read("k") == Waiting(("ann",))
        first.finish()
        first.finish()
        await trio.sleep(9)
        second = presence.attend(["k"], "ann")
        second.begin()
        await trio.sleep(30)
        assert await presence.read("k") == Waiting(("ann",))
        second.finish()
        await trio.sleep(9)
        assert await presence.read("k") == Waiting(("ann",))
        await trio.sleep(2.5)
        assert await presence.read("k") == Waiting()
        assert repr(presence) == (
            "<Presence: <PresenceTable: 0 places on 0 keys>, 0 followed>"
        )


async def test_without_a_wait_nothing_is_asked(
    autojump_clock: MockClock, no_sweep: None
) -> None:
    """Before the first one, and after the last has been reported as gone."""
    async with open_worker() as worker:
        await trio.sleep(100)
        assert worker.store.reports == []
        wait = worker.presence.attend(["k"], None)
        wait.begin()
        wait.finish()
        await trio.sleep(100)
        count = len(worker.store.reports)
        await trio.sleep(1000)
        assert len(worker.store.reports) == count <= 3
        assert worker.store.looks == 0


async def test_polls_in_a_loop_cost_no_command(
    autojump_clock: MockClock, no_sweep: None
) -> None:
    """But for the report of each key every eight seconds, all in one batch."""
    async with open_worker() as worker:
        waits = [worker.presence.attend([f"{n}"], "ann") for n in range(200)]
        for _ in range(100):
            for wait in waits:
                wait.begin()
            await trio.sleep(0.5)
            for wait in waits:
                wait.finish()
        assert len(worker.store.reports) <= 7
        assert sum(worker.store.reports) <= 7 * 200


async def test_many_keys_are_reported_in_batches(
    autojump_clock: MockClock, no_sweep: None
) -> None:
    async with open_worker() as worker:
        wait = worker.presence.attend([f"{n}" for n in range(300)], None)
        wait.begin()
        await trio.sleep(1.5)
        assert worker.store.reports == [256, 44]


async def test_what_a_websocket_follows(
    autojump_clock: MockClock, no_sweep: None
) -> None:
    """Changes while it is open; each key once, and none that is not kept."""
    async with open_worker() as worker:
        presence = worker.presence
        wait = presence.attend([], "ann")
        wait.begin()
        wait.follow({"a", "b", "private"})
        wait.follow({"a", "b"})
        assert repr(wait) == "<Attendance: 'ann' on 2 keys>"
        assert presence.table.places == 2
        wait.follow({"b", "c"})
        await trio.sleep(12)
        found = [await presence.read(key) for key in ("a", "b", "c", "private")]
        assert found == [Waiting(), Waiting(("ann",)), Waiting(("ann",)), Waiting()]
        wait.finish()
        await trio.sleep(12)
        assert len(presence.table) == 0


@pytest.mark.parametrize("subject", ["half \ud800 a pair", None])
async def test_a_subject_that_is_no_text_is_anonymous(
    autojump_clock: MockClock, no_sweep: None, subject: str | None
) -> None:
    """A ticket's JSON may have half a surrogate pair."""
    async with open_worker() as worker:
        worker.presence.attend(["k"], subject).begin()
        await trio.sleep(1.5)
        assert await worker.presence.read("k") == Waiting((), 1)


async def test_a_full_table(autojump_clock: MockClock, no_sweep: None) -> None:
    """A wait for which there is no room does not count, and ends like others."""
    async with open_worker() as worker:
        waits = [worker.presence.attend(["k"], None) for _ in range(401)]
        for wait in waits:
            wait.begin()
        await trio.sleep(1.5)
        assert await worker.presence.read("k") == Waiting((), 400)
        for wait in waits:
            wait.finish()
        await trio.sleep(12)
        assert worker.presence.table.places == 0


async def test_a_reader_is_woken_by_changes(
    autojump_clock: MockClock, no_sweep: None
) -> None:
    async with open_worker() as worker:
        presence = worker.presence
        with presence.following("k"):
            assert await presence.record("k") is None
            found: list[dict[str, object]] = []

            async def wait() -> None:
                found.extend(await worker.changes(NEW, 60))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(wait)
                await wait_all_tasks_blocked()
                presence.attend(["k"], "ann").begin()
                with trio.fail_after(2):
                    while not found:
                        await trio.sleep(0.1)
        joined = {"joined": ["ann"], "left": [], "count": 1, "anonymous": 0}
        assert found == [joined]
        assert await worker.changes(ALL, 0) == [{"reset": True}, joined]


async def test_what_is_followed_is_looked_at(
    autojump_clock: MockClock, no_sweep: None
) -> None:
    """Every five seconds, for as long as it is followed by at least one reader."""
    async with open_worker() as worker:
        presence = worker.presence
        with presence.following("k"):
            with presence.following("k"):
                await trio.sleep(1.5)
            assert worker.store.looks == 1
            await trio.sleep(100)
            assert 17 <= worker.store.looks <= 21
        await trio.sleep(2)
        looks = worker.store.looks
        await trio.sleep(100)
        assert worker.store.looks == looks


@pytest.mark.parametrize("hangs", [True, False])
async def test_a_store_that_is_away(
    autojump_clock: MockClock, no_sweep: None, hangs: bool
) -> None:
    """The waits go on; what has changed meanwhile is reported once it is back."""
    async with open_worker() as worker:
        presence, store = worker.presence, worker.store
        presence.attend(["k"], "ann").begin()
        store.hangs, store.fault = hangs, StoreUnreachable("away")
        with presence.following("k"):
            await trio.sleep(30)
            presence.attend(["k"], "bob").begin()
            assert await presence.read("k") is Failure.STORE_UNREACHABLE
            assert await presence.record("k") is Failure.STORE_UNREACHABLE
            store.hangs, store.fault = False, None
            await trio.sleep(LIMIT + 8)
            assert await presence.read("k") == Waiting(("ann", "bob"))
    assert worker.rig.metrics.backend_errors["store", "unreachable"] > 2


async def test_a_key_that_is_refused(autojump_clock: MockClock, no_sweep: None) -> None:
    """Does not keep the keys of other batches from being reported."""
    async with open_worker() as worker:
        presence = worker.presence
        presence.attend(["!refused", *(f"{n}" for n in range(300))], None).begin()
        await trio.sleep(1.5)
        assert worker.store.reports == [256, 45]
        assert await presence.read("99") == Waiting((), 1)
    assert worker.rig.metrics.backend_errors == {("store", "failed"): 1}
