"""What is particular to logs in memory: their bytes are counted."""

import pytest
import trio

from triopoll.store import (
    ALL,
    Appended,
    Budget,
    LogLimits,
    MemoryLog,
    MemoryStore,
    NewMessage,
    StoreFailed,
)

LIMITS = LogLimits(max_messages=4, max_age=10, max_ttl=20, memory=100, seen=30)


class Clock:
    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


async def test_the_memory_is_bounded() -> None:
    """A publisher whom nobody reads cannot fill the process, however it tries."""
    budget = Budget(100_000)
    log = MemoryLog(LIMITS, budget=budget, clock=Clock())
    for message in [
        NewMessage("long", b"x" * 100_000),
        NewMessage("k" * 100_000, b"x"),
        NewMessage("k", b"x", id="n" * 100_000),
    ]:
        (result,) = await log.append([message])
        assert isinstance(result, StoreFailed)
    assert budget.taken == 0
    results = [
        *await log.append([NewMessage(f"k{n}", b"x") for n in range(500)]),
        *await log.append([NewMessage("k0", b"", id=str(n)) for n in range(500)]),
        *await log.append([NewMessage("k0", b"x" * 50_000)]),
    ]
    assert 20 < sum(isinstance(result, Appended) for result in results) < 500
    assert budget.taken <= 100_000


async def test_lists_and_logs_share_their_bytes() -> None:
    """There is one limit for the process."""
    budget = Budget(10_000)
    log = MemoryLog(budget=budget)
    lists = MemoryStore(budget=budget)
    await lists.push("k", b"x" * 9_000)
    (result,) = await log.append([NewMessage("k", b"1")])
    assert isinstance(result, StoreFailed)
    taken = await lists.pop("k")
    assert taken is not None
    (result,) = await log.append([NewMessage("k", b"1")])
    assert isinstance(result, StoreFailed)
    lists.ack(taken)
    (result,) = await log.append([NewMessage("k", b"x" * 5_000)])
    assert isinstance(result, Appended)
    with pytest.raises(StoreFailed, match="full"):
        await lists.push("k", b"x" * 9_000)


async def test_what_is_over_makes_room() -> None:
    """Messages whose time is over are swept out before one is refused."""
    clock = Clock()
    log = MemoryLog(LIMITS, budget=Budget(10_000), clock=clock)
    await log.append([NewMessage("a", b"x" * 4_000)])
    await log.append([NewMessage("b", b"x" * 3_000, ttl=15)])
    (refused,) = await log.append([NewMessage("c", b"x" * 4_000)])
    assert isinstance(refused, StoreFailed)
    clock.now += 11
    (result,) = await log.append([NewMessage("c", b"x" * 3_000)])
    assert isinstance(result, Appended)
    assert len((await log.read("b", ALL, 10)).messages) == 1
    assert len((await log.read("a", ALL, 10)).messages) == 0


@pytest.mark.parametrize("trim_acked", [False, True])
async def test_everything_is_given_back_in_the_end(trim_acked: bool) -> None:
    """Keys come from visitors, so what has ended must not stay behind."""
    clock = Clock()
    budget = Budget(100_000)
    limits = LogLimits(
        max_messages=4, max_age=10, max_ttl=20, memory=100, trim_acked=trim_acked
    )
    log = MemoryLog(limits, budget=budget, clock=clock)
    for n in range(30):
        await log.append([NewMessage(f"k{n % 7}", b"x" * n, id=str(n), ttl=n)])
        page = await log.read(f"k{n % 3}", ALL, 10)
        await log.read(f"k{n % 3}", page.cursor, 10)
        clock.now += 1
    assert budget.taken > 0
    clock.now += 1000
    await log.read("other", ALL, 10)
    assert repr(log) == "<MemoryLog: 0 logs, 0 bytes>"
    assert budget.taken == 0


async def test_a_cancelled_append_appends_nothing() -> None:
    """The cancel comes before the messages, or not at all."""
    log = MemoryLog()
    with trio.CancelScope() as scope:
        scope.cancel()
        await log.append([NewMessage("k", b"1")])
    assert scope.cancelled_caught
    assert (await log.read("k", ALL, 10)).messages == ()
