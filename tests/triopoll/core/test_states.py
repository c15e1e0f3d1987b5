"""State waits over an engine in this process, on a clock that jumps."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
import trio
from msgspec import Raw
from tests.triopoll.logrig import (
    LIMIT,
    PREFIX,
    SETTINGS,
    Faulty,
    SlockRig,
    open_rig,
)
from trio.testing import MockClock, wait_all_tasks_blocked

import trioslock
from triopoll.core.log_notifier import LogNotifier, group_key
from triopoll.core.outcomes import Failure
from triopoll.core.state_rules import (
    Change,
    Conflict,
    NewState,
    StateRefusal,
    StateView,
)
from triopoll.core.states import States
from triopoll.store import (
    FoundState,
    MemoryStates,
    StateRecord,
    StoreFull,
    StoreUnreachable,
)
from trioslock.embedded import open_embedded
from trioslock.host import EngineHost

DIGEST, OTHER = b"d" * 32, b"o" * 32


class FaultyStates(Faulty, MemoryStates):
    """States whose reads are counted, and which fail or hang on demand."""

    reads = 0

    async def read(self, key: str, digest: bytes | None = None) -> FoundState | None:
        self.reads += 1
        await self.stumble()
        return await super().read(key, digest)

    async def swap(
        self, key: str, found: FoundState, record: StateRecord, before: float | None
    ) -> bool:
        await self.stumble()
        return await super().swap(key, found, record, before)

    async def heads(self, keys: Sequence[str]) -> list[str]:
        await self.stumble()
        return await super().heads(keys)


class StateRig(SlockRig):
    """The states of one process, and those of another over the same store."""

    def __init__(self, client: trioslock.Client, host: EngineHost) -> None:
        super().__init__(client, host, max_waits=8)
        self.store = FaultyStates(clock=trio.current_time)
        self.notifier = self._notifier(client)
        self.states = self._states(self.notifier)
        self.elsewhere: States

    def connect(self, publisher: trioslock.Client) -> None:
        """Let another process change states; it has no waits."""
        self.elsewhere = self._states(self._notifier(publisher))

    def _notifier(self, client: trioslock.Client) -> LogNotifier:
        return LogNotifier(
            client, self.store, prefix=PREFIX, max_keys=8, limit=LIMIT, kind="state"
        )

    def _states(self, notifier: LogNotifier) -> States:
        return States(
            self.store, notifier, self.waits, self.monitor, self.metrics, SETTINGS
        )

    async def create(self, key: str = "k", ttl: float = 300.0) -> None:
        new = NewState(state="pending", data=Raw(b"1"), ttl=ttl, confirm_within=60)
        assert isinstance(await self.states.create(key, DIGEST, new), StateView)

    async def wait(self, version: int = 1, seconds: float = 25) -> StateView:
        found = await self.states.wait("k", DIGEST, version, seconds)
        assert isinstance(found, StateView), found
        return found


@asynccontextmanager
async def open_state_rig() -> AsyncIterator[StateRig]:
    async with (
        open_rig(StateRig) as rig,
        open_embedded(rig.host) as publisher,
        trio.open_nursery() as nursery,
    ):
        rig.connect(publisher)
        await nursery.start(rig.notifier.run)
        yield rig
        nursery.cancel_scope.cancel()


@pytest.fixture
async def rig() -> AsyncIterator[StateRig]:
    async with open_state_rig() as rig:
        yield rig


async def test_a_change_in_another_process(
    autojump_clock: MockClock, rig: StateRig, no_sweep: None
) -> None:
    """It ends the wait at that moment; one slock wait serves all pages of the state."""
    await rig.create()
    seen: list[StateView] = []

    async def wait() -> None:
        seen.append(await rig.wait())

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(wait)
        await trio.sleep(3)
        assert await rig.waiting() == 1
        reads = rig.store.reads
        await rig.elsewhere.change("k", Change(state="scanned"))
    assert trio.current_time() == pytest.approx(3, abs=0.1)
    assert [view.record.state for view in seen] == ["scanned"] * 3
    assert all(view.woken is not None for view in seen)
    # The change has read once; the three share one read, and one for a second wake.
    assert rig.store.reads - reads <= 3


@pytest.mark.slow
async def test_a_change_at_every_point(
    autojump_clock: MockClock, no_sweep: None
) -> None:
    """Wherever it falls, before, in or after the reads: never lost."""
    for steps in range(40):
        async with open_state_rig() as rig:
            await rig.create()

            async def change(rig: StateRig = rig, steps: int = steps) -> None:
                for _ in range(steps):
                    await trio.lowlevel.checkpoint()
                await rig.elsewhere.change("k", Change(state="scanned"))

            since = trio.current_time()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(change)
                assert (await rig.wait()).record.state == "scanned"
            assert trio.current_time() - since < 1, steps


@pytest.mark.slow
async def test_a_departure_at_every_point(autojump_clock: MockClock) -> None:
    """Nothing waits on slock when the linger is over, and the state is read again."""
    for steps in range(1, 80):
        async with open_state_rig() as rig:
            await rig.create()
            ended = False
            async with trio.open_nursery() as nursery:

                async def leave(
                    scope: trio.CancelScope = nursery.cancel_scope, steps: int = steps
                ) -> None:
                    for _ in range(steps):
                        await trio.lowlevel.checkpoint()
                    scope.cancel()

                nursery.start_soon(leave)
                nursery.start_soon(rig.elsewhere.change, "k", Change(state="done"))
                await rig.wait()
                ended = True
                nursery.cancel_scope.cancel()
            await trio.sleep(6)
            assert len(rig.notifier) == 0
            assert await rig.waiting() == 0
            # The change was completed, although its publisher was cancelled, too; or
            # it had not begun.
            assert (await rig.wait(0, 0)).record.state in ("done", "pending")
            if ended:
                return
    raise AssertionError("the wait never got to its end")


async def test_a_cancelled_change_is_completed(
    autojump_clock: MockClock, rig: StateRig, no_sweep: None
) -> None:
    """What has begun is stored, and wakes, wherever it is cancelled."""
    await rig.create()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.wait)
        await wait_all_tasks_blocked()
        with trio.CancelScope() as scope:
            scope.cancel()
            await rig.elsewhere.change("k", Change(state="scanned", is_final=True))
    with trio.CancelScope() as scope:
        scope.cancel()
        await rig.states.acknowledge("k", DIGEST, 2)
    assert trio.current_time() < 1
    assert await rig.states.wait("k", DIGEST, 0, 0) is StateRefusal.GONE


async def test_expiry(autojump_clock: MockClock, rig: StateRig, no_sweep: None) -> None:
    """It ends the wait at its moment, without slock, and is the next version."""
    await rig.create(ttl=10)
    view = await rig.wait()
    assert trio.current_time() == pytest.approx(10, abs=0.1)
    assert (view.record.state, view.record.version) == ("expired", 2)
    refused = await rig.states.change("k", Change(state="scanned"))
    assert isinstance(refused, Conflict)
    # It is readable for 15 minutes, then its key is unknown.
    await trio.sleep(899)
    assert (await rig.wait(0)).record.state == "expired"
    await trio.sleep(2)
    assert await rig.states.wait("k", DIGEST, 0, 5) is StateRefusal.UNKNOWN


async def test_nothing_happens(autojump_clock: MockClock, rig: StateRig) -> None:
    """The wait ends at its time, with the version that was given."""
    await rig.create()
    view = await rig.wait(1, 25)
    assert trio.current_time() == pytest.approx(25)
    assert (view.record.version, view.record.data) == (1, Raw(b"1"))
    assert view.expires_in == pytest.approx(275)
    assert rig.metrics.waits["state"].ended == {"timeout": 1}
    assert await rig.wait(1, 0) == view


@pytest.mark.parametrize("version", [0, 2, 7])
async def test_another_version_than_the_known_one(
    autojump_clock: MockClock, rig: StateRig, version: int
) -> None:
    """Is answered at once, a lower one as well: a store may have lost the higher."""
    await rig.create()
    assert (await rig.wait(version)).record.version == 1
    assert trio.current_time() == 0


async def test_strangers_do_not_wait(autojump_clock: MockClock, rig: StateRig) -> None:
    """Neither with a wrong secret nor for an unknown key; nothing is subscribed to."""
    await rig.create()
    for key, digest in (("k", OTHER), ("unknown", DIGEST)):
        found = await rig.states.wait(key, digest, 1, 25)
        assert found is StateRefusal.UNKNOWN
        assert await rig.states.acknowledge(key, digest, 1) is StateRefusal.UNKNOWN
    assert trio.current_time() == 0
    assert len(rig.notifier) == 0
    assert rig.metrics.states["unknown"] == 2
    assert rig.store.reads == 4


async def test_an_acknowledgement_ends_the_wait_of_another_page(
    autojump_clock: MockClock, rig: StateRig, no_sweep: None
) -> None:
    """With the same secret: the state is gone."""
    await rig.create()
    await rig.states.change("k", Change(state="done", is_final=True))

    async def acknowledge() -> None:
        await trio.sleep(2)
        assert await rig.elsewhere.acknowledge("k", DIGEST, 2) is None

    async with trio.open_nursery() as nursery:
        nursery.start_soon(acknowledge)
        assert await rig.states.wait("k", DIGEST, 2, 25) is StateRefusal.GONE
    assert trio.current_time() == pytest.approx(2, abs=0.1)


async def test_two_publishers_at_once(autojump_clock: MockClock, rig: StateRig) -> None:
    """With the same expected version one of them succeeds; without, both, in turn."""
    await rig.create()
    results: list[object] = []

    async def change(version: int | None) -> None:
        change = Change(state="scanned", if_version=version)
        results.append(await rig.states.change("k", change))

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(change, 1)
    assert sum(isinstance(result, StateView) for result in results) == 1
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(change, None)
    assert (await rig.wait(0)).record.version == 7


async def test_the_drain(autojump_clock: MockClock, rig: StateRig) -> None:
    """It ends the wait as if nothing had come."""
    await rig.create()

    async def drain() -> None:
        await trio.sleep(2)
        await rig.drain.release(0)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(drain)
        assert (await rig.wait()).record.version == 1
    assert trio.current_time() == pytest.approx(2)


async def test_too_many_waits(autojump_clock: MockClock, rig: StateRig) -> None:
    """One more than may be parked is refused; one that need not wait is served."""
    await rig.create()
    async with trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(rig.wait)
        await wait_all_tasks_blocked()
        found = await rig.states.wait("k", DIGEST, 1, 25)
        assert found is Failure.TOO_MANY_WAITS
        assert (await rig.wait(0)).record.version == 1
        nursery.cancel_scope.cancel()


async def test_slock_is_down(autojump_clock: MockClock, rig: StateRig) -> None:
    """Pages of this process are woken without it, those of others within 5 s."""
    await rig.create()
    for states in (rig.states, rig.elsewhere):
        version = (await rig.wait(0)).record.version
        async with trio.open_nursery() as nursery:
            nursery.start_soon(rig.wait, version)
            await trio.sleep(8)
            rig.monitor.up = False
            since = trio.current_time()
            view = await states.change("k", Change(state="scanned"))
            assert isinstance(view, StateView)
        assert trio.current_time() - since < (0.1 if states is rig.states else 5)
        rig.monitor.up = True


async def test_the_store_fails(autojump_clock: MockClock, rig: StateRig) -> None:
    """Never a timeout, never a hang; what was confirmed is there afterwards."""
    await rig.create()
    for fault, failure in (
        (StoreUnreachable("gone"), Failure.STORE_UNREACHABLE),
        (StoreFull("full"), Failure.STORE_FAILED),
    ):
        rig.store.fault = fault
        assert await rig.states.wait("k", DIGEST, 1, 25) is failure
        assert await rig.states.change("k", Change(state="a")) is failure
        assert await rig.states.acknowledge("k", DIGEST, 1) is failure
        assert await rig.states.origin("k") is failure
    rig.store.fault, rig.store.hangs = None, True
    since = trio.current_time()
    assert await rig.states.change("k", Change(state="a")) is Failure.STORE_UNREACHABLE
    assert trio.current_time() - since == pytest.approx(LIMIT)
    rig.store.hangs = False
    assert (await rig.wait(0)).record.state == "pending"


async def test_the_store_is_lost_during_a_wait(
    autojump_clock: MockClock, rig: StateRig
) -> None:
    """It is no timeout at the end of the wait, and ends nothing while it is short."""
    await rig.create()
    for seconds, expected in ((3.0, StateView), (25.0, Failure)):
        results: list[object] = []

        async def wait(results: list[object] = results) -> None:
            results.append(await rig.states.wait("k", DIGEST, 1, 10))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.sleep(1)
            rig.store.fault = StoreUnreachable("gone")
            await trio.sleep(seconds)
            rig.store.fault = None
        assert isinstance(results[0], expected)


async def test_states_and_logs_of_one_name_have_two_groups() -> None:
    """A message to a log does not wake the waits for a state."""
    assert group_key("p:", "k", "state") != group_key("p:", "k")
    assert group_key("p:", "k", "log") == group_key("p:", "k")


def test_representation() -> None:
    """It names its parts."""
    assert "MemoryStates: 0" in repr(MemoryStates())
