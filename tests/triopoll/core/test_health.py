"""Readiness and its reasons; how late the loop is."""

from __future__ import annotations

import time

import pytest
import trio

from triopoll.core.health import Health, measure_loop_lag
from triopoll.core.parked_waits import ParkedWait, ParkedWaits
from triopoll.core.slock_backend import SlockMonitor
from triopoll.ops.drain import Drain
from triopoll.ops.metrics import Histogram
from triopoll.store import StoreFailed, StoreFull, StoreUnreachable


class Rig:
    """Health over parts that a test puts into a state."""

    def __init__(self) -> None:
        self.drain = Drain()
        self.waits = ParkedWaits(self.drain, limit=1)
        self.monitor = SlockMonitor(self.ping, self.waits, limit=5)
        self.fault = ""
        self.pings = 0
        self.health = Health(self.drain, self.monitor, self.waits, self.ping, limit=5)

    async def ping(self) -> None:
        self.pings += 1
        await trio.sleep(0.1)
        if self.fault == "down":
            raise StoreUnreachable("down")
        if self.fault == "hangs":
            await trio.sleep_forever()


async def test_ready(autojump_clock: trio.abc.Clock) -> None:
    """There is no reason against it."""
    assert await Rig().health.reasons() == {}


async def test_each_reason(autojump_clock: trio.abc.Clock) -> None:
    """All that hold are returned."""
    rig = Rig()
    rig.fault = "down"
    rig.monitor.up = False
    rig.drain.begin()
    with ParkedWait(rig.waits, 1):
        reasons = await rig.health.reasons()
    assert list(reasons) == ["draining", "slock", "store", "waits"]
    assert "parked" in repr(rig.health)


async def test_a_slock_that_refuses(autojump_clock: trio.abc.Clock) -> None:
    """It answers, and cannot be used: the sentence tells it from an outage."""
    rig = Rig()
    rig.monitor.refuses = True
    assert await rig.health.reasons() == {"slock": "slock refuses new keys"}
    rig.monitor.up = False
    assert await rig.health.reasons() == {"slock": "slock does not answer"}


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (StoreUnreachable("READONLY"), "the store of messages does not answer"),
        (StoreFull("OOM"), "the store of messages is full"),
        (StoreFailed("NOPERM"), "the store of messages refuses to store"),
    ],
)
async def test_what_the_store_does(
    autojump_clock: trio.abc.Clock, error: Exception, sentence: str
) -> None:
    """It is said in words that tell an operator where to look."""
    rig = Rig()

    async def ping() -> None:
        raise error

    health = Health(rig.drain, rig.monitor, rig.waits, ping, limit=5)
    assert await health.reasons() == {"store": sentence}


async def test_a_store_that_hangs(autojump_clock: trio.abc.Clock) -> None:
    """The answer comes before a probe gives up, which is after a second."""
    rig = Rig()
    rig.fault = "hangs"
    assert list(await rig.health.reasons()) == ["store"]
    assert trio.current_time() == pytest.approx(0.8)


async def test_many_ask_at_once(autojump_clock: trio.abc.Clock) -> None:
    """The store is asked once a second at most, and then anew."""
    rig = Rig()
    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(rig.health.reasons)
    assert rig.pings == 1
    await trio.sleep(1)
    rig.fault = "down"
    assert list(await rig.health.reasons()) == ["store"]
    assert rig.pings == 2


async def test_who_asks_may_leave(autojump_clock: trio.abc.Clock) -> None:
    """The next one asks for itself."""
    rig = Rig()
    with trio.move_on_after(0.05):
        await rig.health.reasons()
    assert await rig.health.reasons() == {}
    assert rig.pings == 2


async def test_a_loop_that_is_busy() -> None:
    """The lag is as long as something keeps the loop."""
    lag = Histogram((0.1,))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(measure_loop_lag, lag)
        await trio.sleep(0.05)
        time.sleep(0.5)  # noqa: ASYNC251
        await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    assert lag.counts == [0, 1]
    assert 0.2 < lag.total < 5
