"""The queue before Redis, over an executor that answers as a test says."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
import redis
import trio
from redis.exceptions import BusyLoadingError, NoPermissionError, ReadOnlyError
from tests.triopoll.support import eventually

from triopoll.store import StoreFailed, StoreUnreachable
from triopoll.store._node import Command
from triopoll.store._pipeliner import Pipeliner

WRONGTYPE = redis.ResponseError("WRONGTYPE Operation against a key of another kind")
AWAY = redis.ConnectionError("gone")


class Answers:
    """An executor that answers each command from a list, and then with b"OK"."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.pipelines: list[list[Command]] = []
        self.closed = False
        self.gate = threading.Event()
        self.gate.set()

    @property
    def sent(self) -> list[Command]:
        return [command for pipeline in self.pipelines for command in pipeline]

    def execute(self, commands: Sequence[Command]) -> list[Any]:
        self.pipelines.append(list(commands))
        self.gate.wait()
        return [self.answers.pop(0) if self.answers else b"OK" for _ in commands]

    def close(self) -> None:
        self.closed = True


@asynccontextmanager
async def pipelining(
    executor: Answers, *, max_queued: int = 10, last: Sequence[Command] = ()
) -> AsyncIterator[Pipeliner]:
    closing = threading.Event()
    pipeliner = Pipeliner(executor, max_queued=max_queued, closing=closing)
    pipeliner.start()
    try:
        yield pipeliner
    finally:
        with trio.CancelScope(shield=True):
            await pipeliner.finish(last)
    assert closing.is_set()


def flag() -> tuple[list[int], Callable[[], None]]:
    calls: list[int] = []
    return calls, lambda: calls.append(1)


@pytest.mark.parametrize(
    "refusal",
    [
        AWAY,
        redis.TimeoutError("silent"),
        ReadOnlyError("You can't write against a read only replica."),
        BusyLoadingError("Redis is loading the dataset in memory"),
        NoPermissionError("this user has no permissions"),
        redis.ResponseError("MISCONF Redis is configured to save"),
        redis.ResponseError("NOREPLICAS Not enough good replicas to write."),
        redis.ResponseError("OOM command not allowed"),
        redis.ResponseError("BUSY Redis is busy running a script"),
        redis.ResponseError("MASTERDOWN Link with MASTER is down"),
        redis.ResponseError("CLUSTERDOWN The cluster is down"),
        redis.ResponseError("TRYAGAIN Multiple keys request during rehashing"),
        redis.AuthenticationError("invalid username-password pair"),
    ],
    ids=lambda error: f"{type(error).__name__}-{str(error)[:8]}",
)
@pytest.mark.slow
async def test_a_refusal_that_may_end_is_retried(
    refusal: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """Until it is answered; it is done then, and not before."""
    executor = Answers(refusal, refusal)
    done, call = flag()
    async with pipelining(executor) as pipeliner:
        pipeliner.retry_until_acknowledged("HDEL", "h", "1", done=call)
        await eventually(lambda: len(executor.pipelines) == 2)
        assert not done
        await eventually(lambda: done)
    assert executor.sent == [("HDEL", "h", "1")] * 3
    assert done == [1]
    assert not caplog.records
    assert executor.closed


async def test_what_no_try_can_heal_is_dropped(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Once, with a line that has the command's name and key, and nothing else."""
    executor = Answers(WRONGTYPE)
    done, call = flag()
    async with pipelining(executor) as pipeliner:
        pipeliner.retry_until_acknowledged("HDEL", "h", "secret", done=call)
        await eventually(lambda: done)
    assert len(executor.sent) == 1
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.getMessage().startswith("Redis refused for good: 'HDEL' 'h': WRONG")
    assert "secret" not in caplog.text


async def test_what_is_refused_is_not_sent_with_each_pipeline() -> None:
    """A thousand commands do not make a thousand more of it."""
    executor = Answers(NoPermissionError("no"))
    async with pipelining(executor) as pipeliner:
        pipeliner.retry_until_acknowledged("HDEL", "h", "1")
        for _ in range(100):
            await pipeliner.call("GET", "k")
        assert executor.sent.count(("HDEL", "h", "1")) <= 3


async def test_what_was_not_sent_goes_with_the_next_pipeline() -> None:
    """Whoever finds Redis back brings it along."""
    executor = Answers(AWAY, AWAY)
    done, call = flag()
    async with pipelining(executor) as pipeliner:
        pipeliner.retry_until_acknowledged("HDEL", "h", "1", done=call)
        with pytest.raises(StoreUnreachable):
            await pipeliner.call("GET", "k")
        await pipeliner.call("GET", "k")
        assert done


async def test_unacknowledged_commands_are_bounded() -> None:
    """Beyond that nothing more is taken, rather than memory without end."""
    executor = Answers(*[NoPermissionError("no")] * 3)
    async with pipelining(executor, max_queued=3) as pipeliner:
        for n in range(3):
            pipeliner.retry_until_acknowledged("HDEL", "h", str(n))
        with pytest.raises(StoreUnreachable, match="3 commands are not acknowledged"):
            await pipeliner.call("GET", "k")
        await eventually(lambda: pipeliner._unacknowledged == 0)
        assert await pipeliner.call("GET", "k") == b"OK"


@pytest.mark.slow
async def test_closing_waits_for_what_is_to_be_acknowledged() -> None:
    """For some tries, and sends the last commands behind."""
    executor = Answers(NoPermissionError("no"))
    async with pipelining(executor, last=[("DEL", "alive")]) as pipeliner:
        pipeliner.retry_until_acknowledged("HDEL", "h", "1")
    assert executor.sent == [("HDEL", "h", "1")] * 2 + [("DEL", "alive")]
    assert repr(pipeliner) == "<Pipeliner: closed, 0 waiting>"
    with pytest.raises(trio.ClosedResourceError):
        await pipeliner.call("GET", "k")


@pytest.mark.slow
async def test_closing_gives_up_in_time(caplog: pytest.LogCaptureFixture) -> None:
    """What Redis refuses to the end is logged by its key."""
    executor = Answers(*[NoPermissionError("no")] * 99)
    began = time.monotonic()
    async with pipelining(executor) as pipeliner:
        pipeliner.retry_until_acknowledged("HDEL", "h", "secret")
    assert 1.9 < time.monotonic() - began < 3
    assert "Redis was away to the end, given up: 'HDEL' 'h'" in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.slow
async def test_closing_does_not_wait_for_a_redis_that_hangs(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whatever it is doing; the log says what is not acknowledged."""
    executor = Answers()
    began = time.monotonic()
    async with pipelining(executor, last=[("DEL", "alive")]) as pipeliner:
        executor.gate.clear()
        pipeliner.retry_until_acknowledged("HDEL", "h", "1")
        with trio.move_on_after(0.05):
            await pipeliner.call("GET", "k")
    assert 2.4 < time.monotonic() - began < 3.5
    assert "the store is closed, 1 commands are not acknowledged" in caplog.text
    executor.gate.set()
    await eventually(lambda: executor.closed)


async def test_several_at_once() -> None:
    """Their replies come in order; the first error is raised when all are answered."""
    executor = Answers(b"1", b"2", b"3")
    async with pipelining(executor) as pipeliner:
        commands: list[Command] = [("GET", str(n)) for n in range(3)]
        assert await pipeliner.call_many(commands) == [b"1", b"2", b"3"]
        assert await pipeliner.call_many([]) == []
        executor.answers = [b"1", WRONGTYPE, AWAY]
        with pytest.raises(StoreFailed, match="WRONGTYPE"):
            await pipeliner.call_many(commands)
