"""Reports of one worker and of several."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from triopoll.core.admin_reports import AdminReports, AdminSources, UnknownWorker
from triopoll.core.parked_waits import ParkedWait, ParkedWaits, WaitedKey
from triopoll.core.scan_times import ScanTimes
from triopoll.core.slock_backend import SlockMonitor
from triopoll.core.wait_census import WaitCensus
from triopoll.ops.drain import Drain
from triopoll.ops.metrics import Metrics
from triopoll.ops.worker_sockets import WorkerSockets
from triopoll.store import BackendStatus, StoreUnreachable
from trioslock import MemberState, Role, SessionStatistics, SetState

ALONE = WorkerSockets("0", None, 1, "admin")


class Backends:
    """What slock and Redis say."""

    def __init__(self) -> None:
        self.leader: str | None = "one"
        self.redis: list[BackendStatus] = []
        self.ping: Callable[[], Awaitable[object]] = trio.lowlevel.checkpoint
        self.pings = 0

    def slock(self) -> SessionStatistics:
        found = None
        if self.leader is not None:
            leader = self.leader, 1
            members = (
                MemberState(leader, Role.LEADER),
                MemberState(("::1", 2), Role.DOWN, error="gone"),
            )
            found = SetState(leader, leader, members, 1)
        return SessionStatistics(True, 0, 0, 0, 0, 3, 0, 0.01, found)

    async def count_ping(self) -> None:
        self.pings += 1
        await self.ping()


class Rig:
    """A worker's reports."""

    def __init__(self, sockets: WorkerSockets = ALONE) -> None:
        self.backends = Backends()
        self.metrics = Metrics()
        self.waits = ParkedWaits(Drain(), limit=99, metrics=self.metrics)
        sources = AdminSources(
            census=WaitCensus(self.waits),
            waits_limit=99,
            metrics=self.metrics,
            scans=ScanTimes(),
            monitor=SlockMonitor(trio.lowlevel.checkpoint, self.waits, limit=5),
            slock_address="h:1",
            slock=self.backends.slock,
            redis=lambda: self.backends.redis,
            ping=self.backends.count_ping,
        )
        self.reports = AdminReports(sources, sockets)

    def park(self, key: str) -> Any:
        keys = (WaitedKey(key, "c"),)
        return ParkedWait(self.waits, 1000, "log", waited_keys=lambda: keys)


@asynccontextmanager
async def running(*rigs: Rig) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        for rig in rigs:
            await nursery.start(rig.reports.run)
        yield
        nursery.cancel_scope.cancel()


async def test_overview_of_one_worker(autojump_clock: trio.testing.MockClock) -> None:
    """Waits, rates, slock and its members; without Redis nothing is asked of it."""
    rig = Rig()
    async with running(rig):
        rig.metrics.waits["log"].end("fired")
        with rig.park("k"):
            await trio.sleep(5.5)
            found = await rig.reports.overview()
            assert await rig.reports.overview() is found
    assert found.waits.keys == {"k": 1}
    assert found.ended == {"fired": 1}
    assert found.rates["parked"] == [1]
    assert found.slock.leader == "one:1"
    assert [each.address for each in found.slock.members] == ["one:1", "[::1]:2"]
    assert found.slock.leader_changed_at is None
    assert (found.redis.latency, rig.backends.pings) == (None, 0)
    (worker,) = found.workers
    assert (worker.name, worker.waits, worker.uptime) == ("0", 1, 5.5)
    assert repr(rig.reports).startswith("<AdminReports: <WorkerSockets: admin")


async def test_a_failover_of_slock(autojump_clock: trio.testing.MockClock) -> None:
    """It is noticed without a question; a set without a leader is none."""
    rig = Rig()
    async with running(rig):
        rig.backends.leader = None
        await trio.sleep(6)
        assert (await rig.reports.overview()).slock.leader_changed_at is None
        rig.backends.leader = "two"
        await trio.sleep(6)
        found = (await rig.reports.overview()).slock
    assert found.leader == "two:1"
    assert found.leader_changed_at is not None


async def test_the_latency_of_redis(autojump_clock: trio.testing.MockClock) -> None:
    """None if it fails, or takes too long."""
    rig = Rig()
    rig.backends.redis = [BackendStatus("r:1", "", "", 0, None)]

    async def late() -> None:
        await trio.sleep(0.25)

    async def fail() -> None:
        raise StoreUnreachable

    async with running(rig):
        latencies: list[float | None] = []
        for ping in (late, fail, trio.sleep_forever):
            rig.backends.ping = ping
            latencies.append((await rig.reports.overview()).redis.latency)
            await trio.sleep(2)
    assert latencies == [0.25, None, None]
    assert rig.backends.pings == 3


async def test_overview_of_all_workers(tmp_path: Path) -> None:
    """Whichever is asked; one that is gone is named."""
    rigs = [Rig(WorkerSockets(str(n), tmp_path, 3, "admin")) for n in range(3)]
    async with running(*rigs[:2]):
        with rigs[0].park("k"), rigs[1].park("k"):
            found = await rigs[0].reports.overview()
            waits = await rigs[1].reports.key_waits("k")
    assert found.waits.keys == {"k": 2}
    assert [each.answered for each in found.workers] == [True, True, False]
    assert (waits.total, waits.positions) == (2, {"c": 2})


async def test_waiters_worker_by_worker(tmp_path: Path) -> None:
    """A page never mixes two workers, and says where the next one begins."""
    rigs = [Rig(WorkerSockets(str(n), tmp_path, 3, "admin")) for n in range(3)]
    async with running(*rigs[:2]):
        with rigs[0].park("k"), rigs[1].park("k"):
            ask = rigs[0].reports.waiters
            first, following = await ask("k", "", 0, 1)
            assert (len(first), following) == (1, ("0", 1))
            second, following = await ask("k", "0", 1, 9)
            assert (len(second), following) == (1, ("2", 0))
            with pytest.raises(UnknownWorker, match="worker 2 does not answer"):
                await ask("k", "2", 0, 9)
            with pytest.raises(UnknownWorker, match="no worker 7"):
                await ask("k", "7", 0, 9)
    last, following = await Rig().reports.waiters("k", "", 0, 9)
    assert (last, following) == ([], None)
