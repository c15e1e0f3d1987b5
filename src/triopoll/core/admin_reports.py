"""What the admin page shows: of this worker, and of all workers of its server.

A report is made when an operator asks for one, and given out again for a moment: what
it costs does not depend on how many operators look (see `wait_census`). Between two
questions only the rates are sampled, every few seconds.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import NoReturn

import msgspec
import trio

from trioslock import SessionStatistics

from ..ops.metrics import Metrics
from ..ops.rate_ring import PERIOD, RateRing
from ..ops.worker_sockets import WorkerSockets
from ..store import BackendStatus, StoreError
from .admin_schemas import (
    KeyQuestion,
    Overview,
    OverviewQuestion,
    Question,
    RedisReport,
    SlockMember,
    SlockReport,
    WaitersQuestion,
    WorkerReport,
    added_up,
    joined,
)
from .kept_result import KeptResult
from .scan_times import ScanTimes
from .slock_backend import SlockMonitor
from .wait_census import KeyWaits, WaitCensus, Waiter

__all__ = ["AdminReports", "AdminSources", "UnknownWorker"]

# Seconds for which an overview and the latency of Redis are given out again, and that
# Redis may take.
_FRESH = 1.5
_PING_SECONDS = 0.8

_encode = msgspec.json.encode
_QUESTIONS = msgspec.json.Decoder(Question)
_REPORTS = msgspec.json.Decoder(WorkerReport)
_KEY_WAITS = msgspec.json.Decoder(KeyWaits)
_WAITERS = msgspec.json.Decoder(list[Waiter])


class UnknownWorker(ValueError):
    """There is no worker of this name, or it did not answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminSources:
    """Where the parts of a report come from.

    Attributes:
        census: Counts the waits.
        waits_limit: How many may be parked.
        metrics: What is counted anyway.
        scans: How long people take to confirm.
        monitor: Knows whether slock answers.
        slock_address: Where slock is.
        slock: Returns the state of the link to slock.
        redis: Returns what is known of each Redis.
        ping: Asks the store of messages; raises `StoreError`.
    """

    census: WaitCensus
    waits_limit: int
    metrics: Metrics
    scans: ScanTimes
    monitor: SlockMonitor
    slock_address: str
    slock: Callable[[], SessionStatistics]
    redis: Callable[[], Sequence[BackendStatus]]
    ping: Callable[[], Awaitable[object]]


class AdminReports:
    """The reports of this worker, and those of the others.

    Attributes:
        scans: Notes how long people take to confirm.
    """

    def __init__(self, sources: AdminSources, sockets: WorkerSockets) -> None:
        """Use parts that are open already.

        Args:
            sources: Of the reports.
            sockets: For questions to the other workers.
        """
        self.scans = sources.scans
        self._sources = sources
        self._sockets = sockets
        self._ring = RateRing(sources.metrics)
        self._began = trio.current_time()
        self._leader = self._known_leader()
        self._leader_changed_at: float | None = None
        self._overview = KeptResult[Overview](_FRESH)
        self._latency = KeptResult[float | None](_FRESH)

    def __repr__(self) -> str:
        return f"<AdminReports: {self._sockets!r}>"

    async def run(
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> NoReturn:
        """Sample the rates and answer the other workers; started once they can ask.

        Cancellation:
            The only end. The socket is closed.
        """
        async with trio.open_nursery() as nursery:
            await nursery.start(self._sockets.run, self.answer)
            task_status.started()
            while True:
                await trio.sleep(PERIOD)
                self._ring.take()
                self._note_leader()

    async def overview(self) -> Overview:
        """Return what all workers know together, at most a moment old.

        Cancellation:
            Nothing is left behind.
        """
        return await self._overview.get(self._ask_all)

    async def _ask_all(self) -> Overview:
        reports: dict[str, WorkerReport | None] = {}
        reports[self._sockets.name] = await self._report()
        for name, answer in (await self._ask_others(OverviewQuestion())).items():
            reports[name] = None if answer is None else _REPORTS.decode(answer)
        name = self._sockets.name
        return joined(name, dict(sorted(reports.items())), PERIOD)

    async def key_waits(self, key: str) -> KeyWaits:
        """Return the waits of all workers on a key.

        Cancellation:
            Nothing is left behind.
        """
        own = await self._sources.census.of_key(key)
        answers = await self._ask_others(KeyQuestion(key))
        others = (_KEY_WAITS.decode(each) for each in answers.values() if each)
        return added_up([own, *others])

    async def waiters(
        self, key: str, worker: str, offset: int, limit: int
    ) -> tuple[list[Waiter], tuple[str, int] | None]:
        """Return some of the waiters of a key, worker by worker.

        Args:
            key: What they wait for.
            worker: The worker to begin with; "" for the first.
            offset: How many of its waiters are left out.
            limit: How many are returned at most.

        Returns:
            The waiters, and worker and offset of the next page; None at the end. They
            are of one worker, the first from there on that has any.

        Raises:
            UnknownWorker: There is no such worker, or it does not answer.

        Cancellation:
            Nothing is left behind.
        """
        names = sorted([self._sockets.name, *self._sockets.others])
        worker = worker or names[0]
        if worker not in names:
            raise UnknownWorker(f"there is no worker {worker}")
        question = WaitersQuestion(key, offset, limit)
        found = await self._ask_for_waiters(worker, question)
        if len(found) == limit:
            return found, (worker, offset + limit)
        later = [name for name in names if name > worker]
        if found or not later:
            return found, (later[0], 0) if later else None
        return await self.waiters(key, later[0], 0, limit)

    async def _ask_for_waiters(
        self, worker: str, question: WaitersQuestion
    ) -> list[Waiter]:
        if worker == self._sockets.name:
            answer: bytes | None = await self.answer(_encode(question))
        else:
            answer = await self._sockets.ask(worker, _encode(question))
        if answer is None:
            raise UnknownWorker(f"worker {worker} does not answer")
        return _WAITERS.decode(answer)

    async def answer(self, question: bytes) -> bytes:
        """Answer a question of another worker.

        Raises:
            msgspec.DecodeError: It is none.

        Cancellation:
            Nothing is left behind.
        """
        census, asked = self._sources.census, _QUESTIONS.decode(question)
        if isinstance(asked, OverviewQuestion):
            return _encode(await self._report())
        if isinstance(asked, KeyQuestion):
            return _encode(await census.of_key(asked.key))
        return _encode(await census.waiters(asked.key, asked.offset, asked.limit))

    async def _ask_others(self, question: Question) -> dict[str, bytes | None]:
        return await self._sockets.ask_others(_encode(question))

    async def _report(self) -> WorkerReport:
        sources, metrics = self._sources, self._sources.metrics
        waits = await sources.census.counts()
        latency = await self._latency.get(self._ping) if sources.redis() else None
        ended: Counter[str] = Counter()
        for meter in metrics.waits.values():
            ended.update(meter.ended)
        return WorkerReport(
            waits=waits,
            waits_limit=sources.waits_limit,
            refusals=dict(metrics.refusals),
            ended=dict(ended),
            states=dict(metrics.states),
            scan_seconds=list(sources.scans.seconds()),
            published=dict(metrics.published),
            rates=self._ring.rates(),
            slock=self._slock(),
            redis=RedisReport(servers=sources.redis(), latency=latency),
            uptime=round(trio.current_time() - self._began, 1),
        )

    def _slock(self) -> SlockReport:
        self._note_leader()
        found, monitor = self._sources.slock(), self._sources.monitor
        members = found.replica_set.members if found.replica_set else ()
        return SlockReport(
            up=monitor.up,
            refuses=monitor.refuses,
            address=self._sources.slock_address,
            leader=self._leader,
            members=[
                SlockMember(
                    address=_address(*each.address),
                    role=each.role.value,
                    error=each.error,
                )
                for each in members
            ],
            round_trip=found.round_trip,
            connections=found.connections,
            error=found.error,
            leader_changed_at=self._leader_changed_at,
        )

    def _known_leader(self) -> str | None:
        found = self._sources.slock().replica_set
        return _address(*found.leader) if found and found.leader else None

    def _note_leader(self) -> None:
        leader = self._known_leader()
        if leader is not None and leader != self._leader:
            if self._leader is not None:
                self._leader_changed_at = time.time()
            self._leader = leader

    async def _ping(self) -> float | None:
        """Return how long a command takes; None without an answer."""
        began = trio.current_time()
        with trio.move_on_after(_PING_SECONDS):
            try:
                await self._sources.ping()
            except StoreError:
                return None
            return round(trio.current_time() - began, 6)
        return None


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
