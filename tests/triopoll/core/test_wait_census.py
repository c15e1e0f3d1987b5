"""Counts of parked waits for operators."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import trio
import trio.testing
from tests.triopoll.waiters import Calls

from triopoll.core.parked_waits import ParkedWaits, PendingWait, WaitedKey
from triopoll.core.wait_census import KeyWaits, WaitCensus, prefix_of
from triopoll.ops.drain import Drain
from triopoll.ops.metrics import Kind
from triopoll.pending import waiting_subject


class Parked(PendingWait[str]):
    """A wait that nothing ends."""

    def __init__(self, waits: ParkedWaits, kind: Kind, keys: Sequence[WaitedKey]):
        super().__init__(waits, 1000, kind, needs_slock=False)
        self._keys = keys

    def waited_keys(self) -> Sequence[WaitedKey]:
        return self._keys

    async def proceed(self) -> str | None:
        raise NotImplementedError

    def _begin(self) -> None:
        pass

    def _finish(self) -> None:
        pass

    def _nothing_yet(self) -> str:
        return ""


class Rig:
    """Waits, and a census of them whose slices take a millisecond each."""

    def __init__(self) -> None:
        self.waits = ParkedWaits(Drain(), limit=10_000)
        self.time = 0.0
        self.census = WaitCensus(self.waits, clock=self.clock)

    def clock(self) -> float:
        self.time += 0.0005
        return self.time

    def park(self, *keys: WaitedKey, kind: Kind = "log") -> Parked:
        wait = Parked(self.waits, kind, keys)
        wait.start(Calls())
        return wait


@pytest.fixture
def rig() -> Rig:
    return Rig()


async def test_counts(autojump_clock: trio.testing.MockClock, rig: Rig) -> None:
    """By kind, age, prefix, key and stage."""
    rig.park(WaitedKey("user:1", "c"), WaitedKey("plain"))
    rig.park(WaitedKey("k" * 22, "scanned"), kind="state")
    await trio.sleep(20)
    rig.park(WaitedKey("user:1", "c"))
    counts = await rig.census.counts()
    assert counts.total == 3
    assert counts.kinds == {"log": 2, "state": 1}
    assert counts.ages == [1, 0, 0, 2, 0, 0]
    assert counts.prefixes == {"user:": 2, "": 2}
    assert counts.keys == {"user:1": 2, "plain": 1, "k" * 22: 1}
    assert counts.stages == {"scanned": 1}
    assert counts.distinct_keys == 3
    assert repr(rig.census) == "<WaitCensus: <ParkedWaits: 3 of 10000>>"


async def test_only_the_keys_with_most_waits_are_listed(
    autojump_clock: trio.testing.MockClock, rig: Rig
) -> None:
    """What a client can make many of does not make the answer long."""
    for number in range(300):
        rig.park(WaitedKey(f"{number}:x"))
    rig.park(WaitedKey("7:x"))
    counts = await rig.census.counts()
    assert (len(counts.keys), len(counts.prefixes)) == (100, 100)
    assert next(iter(counts.keys.items())) == ("7:x", 2)
    assert counts.distinct_keys == 300


async def test_waits_with_many_keys(
    autojump_clock: trio.testing.MockClock, rig: Rig
) -> None:
    """A slice is as long as its keys; thousands of names are chosen from in slices."""
    for number in range(200):
        rig.park(*(WaitedKey(f"{number}:{n}") for n in range(50)))
    rig.park(WaitedKey("199:49"))
    counts = await rig.census.counts()
    assert counts.distinct_keys == 10_000
    assert next(iter(counts.keys.items())) == ("199:49", 2)
    # 11 waits with 50 keys are a slice of half a millisecond.
    assert rig.time == pytest.approx(19 * 2 * 0.0005)


async def test_a_walk_lets_others_run(
    autojump_clock: trio.testing.MockClock, rig: Rig
) -> None:
    """It goes in slices, and what ends meanwhile is left out."""
    for _ in range(1000):
        rig.park(WaitedKey("k"))
    others = [rig.park() for _ in range(500)]

    async def end_some() -> None:
        for wait in others:
            wait.withdraw()
        await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(end_some)
        counts = await rig.census.counts()
    assert counts.total == 1000


async def test_walks_have_a_small_part_of_the_time(
    autojump_clock: trio.testing.MockClock, rig: Rig
) -> None:
    """However many operators ask; and they get what was counted a moment ago."""
    rig.park(WaitedKey("k"))
    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(rig.census.counts)
    assert rig.time == pytest.approx(0.001)
    began = trio.current_time()
    for _ in range(50):
        await rig.census.waiters("k", 0, 9)
    assert rig.time == pytest.approx(0.051)
    assert trio.current_time() - began == pytest.approx(50 * 0.0005 / 0.02)


async def test_one_key(autojump_clock: trio.testing.MockClock, rig: Rig) -> None:
    """Its waits by position, and the age of the oldest."""
    rig.park(WaitedKey("k", "a"))
    await trio.sleep(2)
    rig.park(WaitedKey("k", "b"), WaitedKey("other"))
    rig.park(WaitedKey("k", "b"))
    rig.park(WaitedKey("k"), kind="event")
    found = await rig.census.of_key("k")
    assert found == KeyWaits(total=4, positions={"b": 2, "a": 1, "": 1}, oldest=2)
    rig.park(WaitedKey("k"))
    assert await rig.census.of_key("k") is found
    assert await rig.census.of_key("nothing") == KeyWaits()
    for number in range(16):
        await rig.census.of_key(str(number))
    assert (await rig.census.of_key("k")).total == 5


async def test_waiters_page_by_page(
    autojump_clock: trio.testing.MockClock, rig: Rig
) -> None:
    """In the order of their arrival, with their subjects."""
    for number in range(5):
        waiting_subject.set(f"user-{number}")
        rig.park(WaitedKey("k", "c"))
        rig.park(WaitedKey("other"))
    await trio.sleep(1)
    first = await rig.census.waiters("k", 0, 2)
    last = await rig.census.waiters("k", 4, 2)
    assert [each.subject for each in first] == ["user-0", "user-1"]
    assert [each.subject for each in last] == ["user-4"]
    assert (first[0].kind, first[0].position) == ("log", "c")
    assert first[0].age >= 1


@pytest.mark.parametrize(
    ("key", "prefix"),
    [("user:1:2", "user:"), ("a/b", "a/"), ("a.b:c", "a."), ("plain", ""), (":", ":")],
)
def test_prefixes(key: str, prefix: str) -> None:
    """Up to the first separator, which is part of it."""
    assert prefix_of(key) == prefix
