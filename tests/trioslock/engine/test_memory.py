"""Nothing is left of what is over, and what is there is small."""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections.abc import Callable

import pytest
from tests.trioslock.engine.commands import OTHER_KEY, Talk, codes_of, lock, unlock
from tests.trioslock.engine.model import frame

from trioslock.engine import EngineStatistics
from trioslock.engine._keyspace import Claim

MANY = 20_000


def nothing_left(statistics: EngineStatistics) -> bool:
    return statistics[3:] == (0, 0, 0, 0, 0, 0)


def count_claims() -> int:
    gc.collect()
    return sum(type(each) is Claim for each in gc.get_objects())


@pytest.fixture
def claims_alive() -> Callable[[], int]:
    """Counts the claims that this test has made and that are still there."""
    before = count_claims()
    return lambda: count_claims() - before


def test_a_free_key_costs_nothing(claims_alive: Callable[[], int]) -> None:
    """After locks, probes, waits and values, also of ones never granted."""
    talk = Talk()
    value = frame(0, 0, None, b"value")
    talk.send(lock("a", data=value))
    talk.send(lock("b"))
    talk.send(lock("c", key=OTHER_KEY, expiry=0, data=value))
    talk.send(lock("d", timeout=60, data=value))
    talk.send(unlock("d", flag=0x02))
    talk.send(unlock("a"))
    talk.send(unlock("a", key=OTHER_KEY))
    assert nothing_left(talk.engine.statistics())
    assert claims_alive() == 0


@pytest.mark.slow
def test_waits_that_are_withdrawn_leave_nothing(
    claims_alive: Callable[[], int],
) -> None:
    """In a queue that never empties, oldest, newest and in between."""
    talk = Talk()
    talk.send(lock("holder"))
    talk.send(lock("first", timeout=60_000))
    for number in range(MANY):
        talk.send(lock(number, timeout=1 + number % 60_000))
        if number % 3:
            talk.send(unlock(number, flag=0x02))
    for number in range(0, MANY, 3):
        talk.send(unlock(number, flag=0x02))
    assert talk.engine.statistics().waiters == 1
    assert talk.engine.statistics().timers == 2
    assert claims_alive() == 2


@pytest.mark.slow
def test_many_waits_of_one_lock_id_leave_nothing(
    claims_alive: Callable[[], int],
) -> None:
    """The newest is always there, the older ones come and go."""
    talk = Talk()
    talk.send(lock("holder", max_count=1))
    for _ in range(MANY):
        talk.send(lock("same", timeout=1))
        talk.now += 0.001
    talk.wait(10)
    assert talk.engine.statistics().waiters == 0
    assert claims_alive() == 0


@pytest.mark.slow
def test_peers_that_have_gone_leave_nothing() -> None:
    """When their claims have ended."""
    talk = Talk()
    for number in range(2000):
        peer = talk.engine.add_peer(talk.now)
        talk.send(lock(number, timeout=5, expiry=5, expiry_flag=0x8000), peer)
        talk.engine.drop_peer(peer, talk.now)
    for _ in range(2100):
        deadline = talk.engine.next_deadline()
        if deadline is None:
            break
        talk.now = deadline
        talk.engine.advance(deadline)
    assert talk.engine.statistics()[:2] == (1, 0)
    assert nothing_left(talk.engine.statistics())


@pytest.mark.slow
def test_the_cost_of_a_release_grows_with_the_queue_only() -> None:
    """Each of 100,000 waiters for an event costs about what one of 10,000 does."""

    def seconds(size: int) -> float:
        talk = Talk()
        talk.send(lock("holder"))
        for number in range(size):
            talk.send(lock(number, timeout=60, expiry=0))
        begin = time.thread_time()
        replies = talk.send(unlock("holder"))
        took = time.thread_time() - begin
        assert len(replies) == size + 1
        assert {codes_of(each) for each in replies} == {0}
        assert nothing_left(talk.engine.statistics())
        return took

    short = max(seconds(10_000) for _ in range(3))
    assert seconds(100_000) < 50 * short


@pytest.mark.slow
def test_cancelling_is_as_quick_in_a_long_queue() -> None:
    """The cost of a cancel does not grow with the queue."""

    def seconds(size: int) -> float:
        talk = Talk()
        talk.send(lock("holder"))
        for number in range(size):
            talk.send(lock(number, timeout=60))
        cancels = [unlock(number, flag=0x02) for number in range(size - 500, size)]
        begin = time.thread_time()
        for cancel in cancels:
            talk.send(cancel)
        return time.thread_time() - begin

    short = min(seconds(1000) for _ in range(3))
    assert seconds(50_000) < 10 * short + 0.05


@pytest.mark.slow
def test_a_waiter_is_small() -> None:
    """Well under a kilobyte, request and ids included."""
    talk = Talk()
    talk.send(lock("holder"))
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(MANY):
            talk.send(lock(number, timeout=60))
        size = (tracemalloc.get_traced_memory()[0] - before) / MANY
    finally:
        tracemalloc.stop()
    assert size < 1000
