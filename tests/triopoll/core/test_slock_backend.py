"""The monitor's outages and short losses; opening the client, or refusing to."""

import logging
import time

import pytest
import trio
from trio.testing import MockClock

import trioslock
from triopoll.core.outcomes import Failure
from triopoll.core.parked_waits import ParkedWait, ParkedWaits
from triopoll.core.slock_backend import (
    SlockMonitor,
    StartupError,
    open_slock,
    probe_slock,
)
from triopoll.ops.drain import Drain
from triopoll.settings import Settings
from trioslock import ConnectionLost, ServerError
from trioslock.embedded import open_embedded
from trioslock.engine import EngineLimits
from trioslock.server import open_server


class Slock:
    """Answers, hangs, or loses the connection, by its state."""

    def __init__(self) -> None:
        self.state = "answers"
        self.asked = 0

    async def ask(self) -> None:
        self.asked += 1
        await trio.lowlevel.checkpoint()
        if self.state == "hangs":
            await trio.sleep_forever()
        if self.state == "loses":
            raise ConnectionLost("gone")
        if self.state == "refuses":
            raise ServerError("result 11", result=11)
        if self.state == "closed":
            raise trio.ClosedResourceError


@pytest.mark.parametrize("state", ["hangs", "loses", "closed"])
async def test_an_outage_ends_parked_polls_within_the_limit(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture, state: str
) -> None:
    """And only an outage; its end is logged as well."""
    slock, waits = Slock(), ParkedWaits(Drain(), limit=9)
    monitor = SlockMonitor(slock.ask, waits, limit=5, address="h:1")
    async with trio.open_nursery() as nursery:
        await nursery.start(monitor.run)
        assert repr(monitor) == "<SlockMonitor: up>"
        # Right after an answer, which is the worst time to fail.
        slock.state = state
        start = trio.current_time()
        with ParkedWait(waits, 300) as wait:
            await trio.sleep_forever()
        assert wait.outcome is Failure.SLOCK_UNREACHABLE
        assert 1 < trio.current_time() - start < 5
        assert not monitor.up
        slock.state = "answers"
        await trio.sleep(30)
        assert monitor.up
        nursery.cancel_scope.cancel()
    reason = {
        "hangs": "no answer within 3 s",
        "loses": "gone",
        "closed": "ClosedResourceError",
    }[state]
    assert [record.message for record in caplog.records] == [
        f"slock at h:1 does not answer: {reason}",
        "slock at h:1 answers again after 1 s",
    ]


async def test_a_short_loss_is_no_outage(autojump_clock: MockClock) -> None:
    """A connection that is back soon has its waits replayed by the client."""
    slock, waits = Slock(), ParkedWaits(Drain(), limit=9)
    async with trio.open_nursery() as nursery:
        await nursery.start(SlockMonitor(slock.ask, waits, limit=5, address="h:1").run)
        slock.state = "loses"
        with ParkedWait(waits, 2) as wait:
            await trio.sleep(1.5)
            slock.state = "answers"
            await trio.sleep_forever()
        assert not isinstance(wait.outcome, Failure)
        nursery.cancel_scope.cancel()


async def test_a_refusal_is_no_outage(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Parked waits go on, since slock still wakes them; it is logged once."""
    slock, waits = Slock(), ParkedWaits(Drain(), limit=9)
    monitor = SlockMonitor(slock.ask, waits, limit=5, address="h:1")
    async with trio.open_nursery() as nursery:
        await nursery.start(monitor.run)
        slock.state = "refuses"
        with ParkedWait(waits, 20) as wait:
            await trio.sleep_forever()
        assert not isinstance(wait.outcome, Failure)
        assert (monitor.up, monitor.refuses) == (True, True)
        assert repr(monitor) == "<SlockMonitor: refuses>"
        slock.state = "answers"
        await trio.sleep(30)
        assert not monitor.refuses
        nursery.cancel_scope.cancel()
    assert caplog.messages == [
        "slock at h:1 refuses new keys: result 11",
        "slock at h:1 accepts new keys again after 19 s",
    ]


async def test_the_probe_of_an_engine_that_is_full(autojump_clock: MockClock) -> None:
    """It sees what a ping does not, and leaves nothing behind."""
    async with open_embedded(engine_limits=EngineLimits(keys=2)) as client:
        for _ in range(5):
            await probe_slock(client)
        assert (await client.state()).held == 0
        for key in "ab":
            await client.event(key, ttl=60).set()
        await client.ping()
        with pytest.raises(ServerError):
            await probe_slock(client)
        await client.event("a", ttl=60).clear()
        await probe_slock(client)


async def test_a_probe_of_a_process_that_is_late(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The answer came when the lease was over: that is no refusal."""
    take = trioslock.Lock.try_acquire
    errors: list[trioslock.LockLost] = []

    async def take_late(lock: trioslock.Lock) -> trioslock.Grant:
        # The process stands still, whatever its loop had to do.
        trio.lowlevel.current_trio_token().run_sync_soon(time.sleep, 3.0)
        try:
            return await take(lock)
        except trioslock.LockLost as error:
            errors.append(error)
            raise

    monkeypatch.setattr(trioslock.Lock, "try_acquire", take_late)
    async with (
        open_server("127.0.0.1", 0) as server,
        trioslock.open_client(f"slock://127.0.0.1:{server.port}") as client,
    ):
        await probe_slock(client)
    assert len(errors) == 1


async def test_slock_is_asked_seldom(autojump_clock: MockClock) -> None:
    """The monitor costs one request a second at the default limit."""
    slock = Slock()
    async with trio.open_nursery() as nursery:
        monitor = SlockMonitor(slock.ask, ParkedWaits(Drain(), limit=9), limit=5)
        await nursery.start(monitor.run)
        await trio.sleep(100)
        nursery.cancel_scope.cancel()
    assert 90 < slock.asked < 110


async def test_a_start_without_slock_is_known_at_once(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """The first poll is not parked in vain."""
    slock = Slock()
    slock.state = "loses"
    monitor = SlockMonitor(slock.ask, ParkedWaits(Drain(), limit=9), limit=5)
    async with trio.open_nursery() as nursery:
        await nursery.start(monitor.run)
        assert not monitor.up
        nursery.cancel_scope.cancel()
    assert caplog.records[0].levelno == logging.WARNING


async def test_an_embedded_engine_listens_for_publishers(free_port: int) -> None:
    """What a publisher sets over TCP, the client in this process sees."""
    settings = Settings(slock_url=f"embedded://127.0.0.1:{free_port}")
    async with open_slock(settings) as client:
        url = f"slock://127.0.0.1:{free_port}"
        async with open_slock(Settings(slock_url=url)) as publisher:
            await publisher.event("k", ttl=5).set()
        assert await client.event("k", ttl=5).is_set()


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("embedded://192.0.2.1:5658", "cannot listen on 192.0.2.1:5658"),
        ("slock://127.0.0.1:5658/999", "TRIOPOLL_SLOCK_URL: a database"),
    ],
)
async def test_a_url_that_cannot_be_used(url: str, sentence: str) -> None:
    """The message names the setting."""
    with pytest.raises(StartupError, match=sentence):
        async with open_slock(Settings(slock_url=url)):
            pass


async def test_an_embedded_engine_whose_port_is_taken() -> None:
    """By another worker or a slock server: the message says what to do."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        port = listener.socket.getsockname()[1]
        url = f"embedded://127.0.0.1:{port}"
        with pytest.raises(StartupError, match=r"is taken: .* Run one worker; or run"):
            async with open_slock(Settings(slock_url=url)):
                pass
