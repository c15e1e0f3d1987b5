"""EngineHost: replies to their peers, a clock without polling, faults contained."""

from __future__ import annotations

import logging

import pytest
import trio
import trio.testing
from tests.trioslock.server.world import lock_command

from trioslock.engine import Engine
from trioslock.host import EngineHost, HostPeer
from trioslock.protocol import CommandType, PlainCommand, Result, ResultCode, to_key

QUIT = PlainCommand(CommandType.QUIT, bytes(16))


class Inbox:
    """A peer that keeps what it gets, in a log that peers may share."""

    def __init__(
        self, host: EngineHost, log: list[tuple[str, object]], name: str
    ) -> None:
        self.log = log
        self.name = name
        self.peer: HostPeer = host.attach(
            self._deliver, lambda: self._note("close"), lambda: self._note("flush")
        )

    def _deliver(self, result: Result) -> None:
        self._note((result.request_id, result.result))

    def _note(self, what: object) -> None:
        self.log.append((self.name, what))


@pytest.fixture
def log() -> list[tuple[str, object]]:
    return []


@pytest.fixture
def host() -> EngineHost:
    return EngineHost(Engine(), clock=lambda: 0.0)


def unlock(lock_id: str) -> object:
    return lock_command("k", lock_id, kind=CommandType.UNLOCK)


def test_replies_reach_their_peers_before_submit_returns(
    host: EngineHost, log: list[tuple[str, object]]
) -> None:
    """In the engine's order; then each peer is flushed once."""
    a, b = Inbox(host, log, "a"), Inbox(host, log, "b")
    a.peer.submit(lock_command("k", "a"))
    b.peer.submit(lock_command("k", "b", wait=9))
    assert log == [("a", (to_key("a"), 0)), ("a", "flush")]
    log.clear()
    a.peer.submit(lock_command("k", "a", kind=CommandType.UNLOCK))
    assert log[:2] == [("a", (to_key("a"), 0)), ("b", (to_key("b"), 0))]
    assert sorted(log[2:]) == [("a", "flush"), ("b", "flush")]


def test_a_batch_is_flushed_once(
    host: EngineHost, log: list[tuple[str, object]]
) -> None:
    """With settle=False flushing is left to settle."""
    a = Inbox(host, log, "a")
    for number in range(5):
        a.peer.submit(lock_command(str(number), "a"), settle=False)
    assert ("a", "flush") not in log
    host.settle()
    host.settle()
    assert log.count(("a", "flush")) == 1
    assert len(log) == 6


def test_what_a_delivery_submits_is_answered_behind(host: EngineHost) -> None:
    """Replies that a reply causes do not overtake those already made."""
    log: list[tuple[str, object]] = []

    def release(result: Result) -> None:
        log.append(("first", result.result))
        if result.type == CommandType.LOCK:  # type: ignore[union-attr]
            first.submit(lock_command("k", "one", kind=CommandType.UNLOCK))
            log.append(("first", "submitted"))

    first = host.attach(release, lambda: None)
    second = Inbox(host, log, "second")
    second.peer.submit(lock_command("k", "zero"))
    first.submit(lock_command("k", "one", wait=9))
    second.peer.submit(lock_command("k", "two", wait=9))
    log.clear()
    second.peer.submit(lock_command("k", "zero", kind=CommandType.UNLOCK))
    order = [entry for entry in log if entry[1] != "flush"]
    assert order == [
        ("second", (to_key("zero"), 0)),
        ("first", 0),
        ("first", "submitted"),
        ("first", 0),
        ("second", (to_key("two"), 0)),
    ]


def test_the_engine_can_close_a_peer(
    host: EngineHost, log: list[tuple[str, object]]
) -> None:
    """After everything that was sent to it before."""
    a = Inbox(host, log, "a")
    a.peer.submit(QUIT)
    assert log == [("a", (bytes(16), 0)), ("a", "close"), ("a", "flush")]


def test_detached_peers_are_out(
    host: EngineHost, log: list[tuple[str, object]]
) -> None:
    """They get nothing, cannot submit, and may detach again."""
    a, b = Inbox(host, log, "a"), Inbox(host, log, "b")
    assert (host.peers, repr(a.peer)) == (2, "<HostPeer 1: attached>")
    a.peer.submit(lock_command("k", "a"))
    b.peer.submit(lock_command("k", "b", wait=9))
    log.clear()
    b.peer.detach()
    b.peer.detach()
    assert (host.peers, repr(b.peer)) == (1, "<HostPeer 2: detached>")
    with pytest.raises(RuntimeError, match="detached"):
        b.peer.submit(QUIT)
    a.peer.submit(lock_command("k", "a", kind=CommandType.UNLOCK))
    assert [name for name, _ in log] == ["a", "a"]
    assert host.engine.statistics().peers == 1


def test_a_peer_may_leave_while_results_are_delivered(host: EngineHost) -> None:
    """What was meant for it is dropped, the rest arrives."""
    log: list[tuple[str, object]] = []
    leaver = Inbox(host, log, "leaver")
    first = host.attach(lambda _: leaver.peer.detach(), lambda: None)
    last = Inbox(host, log, "last")
    last.peer.submit(lock_command("k", "holder"))
    for peer, name in ((first, "first"), (leaver.peer, "b"), (last.peer, "c")):
        peer.submit(lock_command("k", name, wait=9, lease=0))
    log.clear()
    last.peer.submit(lock_command("k", "holder", kind=CommandType.UNLOCK))
    names = [name for name, what in log if what != "flush"]
    assert names == ["last", "last"]


@pytest.mark.parametrize("where", ["deliver", "flush"])
def test_a_failing_peer_leaves_the_others_alone(
    host: EngineHost,
    log: list[tuple[str, object]],
    where: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is closed and logged; the others get their results."""

    def fail(*_: object) -> None:
        raise ZeroDivisionError(where)

    closed: list[bool] = []
    bad = host.attach(
        fail if where == "deliver" else lambda _: None,
        lambda: closed.append(True),
        fail if where == "flush" else None,
    )
    good = Inbox(host, log, "good")
    with caplog.at_level(logging.ERROR):
        bad.submit(lock_command("k", "bad"))
        bad.submit(lock_command("other", "bad"))
    assert closed == [True]
    assert len(caplog.records) == 1
    assert "ZeroDivisionError" in caplog.text
    good.peer.submit(lock_command("k", "good"))
    assert log[0] == ("good", (to_key("good"), ResultCode.TIMEOUT))


async def test_time_is_kept_without_polling(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A wait ends at its second, with one wake-up of the clock task for it."""
    log: list[tuple[str, object]] = []
    engine = Engine()
    host = EngineHost(engine)
    calls = 0
    advance = host.advance

    def counted() -> None:
        nonlocal calls
        calls += 1
        advance()

    host.advance = counted  # type: ignore[method-assign]
    async with trio.open_nursery() as nursery:
        await nursery.start(host.run)
        assert "running" in repr(host)
        a = Inbox(host, log, "a")
        a.peer.submit(lock_command("k", "a", lease=3600))
        a.peer.submit(lock_command("k", "b", wait=60))
        # An earlier deadline than the one that is slept for.
        a.peer.submit(lock_command("k", "c", wait=5))
        log.clear()
        await trio.sleep(10)
        assert log[0] == ("a", (to_key("c"), ResultCode.TIMEOUT))
        assert calls <= 2
        await trio.sleep(60)
        assert log[2] == ("a", (to_key("b"), ResultCode.TIMEOUT))
        assert calls <= 4
        nursery.cancel_scope.cancel()
    assert "not running" in repr(host)


async def test_only_one_clock(autojump_clock: trio.testing.MockClock) -> None:
    """A second run is refused; after a cancelled one it may run again."""
    host = EngineHost(Engine())
    for _ in range(2):
        async with trio.open_nursery() as nursery:
            await nursery.start(host.run)
            with pytest.raises(RuntimeError, match="runs already"):
                await host.run()
            nursery.cancel_scope.cancel()


def test_flushing_a_database_reaches_everybody(
    host: EngineHost, log: list[tuple[str, object]]
) -> None:
    """Waiters get 8 and holders 9, through the peer that asked for it."""
    a = Inbox(host, log, "a")
    a.peer.submit(lock_command("k", "a"))
    a.peer.submit(lock_command("k", "b", wait=9))
    log.clear()
    a.peer.flush_database(0)
    host.settle()
    assert log == [
        ("a", (to_key("b"), ResultCode.TIMEOUT)),
        ("a", (to_key("a"), ResultCode.EXPRIED)),
        ("a", "flush"),
    ]


def test_the_end_of_a_lease_is_delivered(
    host: EngineHost, log: list[tuple[str, object]]
) -> None:
    """The holder gets 9, the waiter its grant, and both are flushed."""
    a = Inbox(host, log, "a")
    a.peer.submit(lock_command("k", "a"))
    a.peer.submit(lock_command("k", "b", wait=9))
    log.clear()
    host.end_leases(0, to_key("k"))
    assert log == [
        ("a", (to_key("a"), ResultCode.EXPRIED)),
        ("a", (to_key("b"), ResultCode.SUCCED)),
        ("a", "flush"),
    ]
