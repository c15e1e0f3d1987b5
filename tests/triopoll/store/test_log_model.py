"""Logs against a naive model: random sequences of appends, reads, and time."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.services import RedisServer

from triopoll.store import (
    ALL,
    NEW,
    Appended,
    LogLimits,
    MemoryLog,
    MessageLog,
    NewMessage,
    open_stores,
)

LIMITS = LogLimits(max_messages=7, max_age=50, max_ttl=90, memory=200, seen=40)


@dataclass(frozen=True)
class Append:
    names: list[str | None]
    ttl: float | None


@dataclass(frozen=True)
class Read:
    """From a cursor that was given out before, counted from the latest one."""

    cursor: int
    limit: int


@dataclass(frozen=True)
class ReadWord:
    word: str
    limit: int


@dataclass(frozen=True)
class Wait:
    seconds: float


Step = Append | Read | ReadWord | Wait

names = st.lists(st.sampled_from([None, None, "a", "b", "c"]), min_size=1, max_size=4)
appends = st.builds(Append, names, st.sampled_from([None, 10.0, 70.0, 1000.0]))
reads = st.builds(Read, st.integers(0, 40), st.integers(1, 9))
words = st.builds(ReadWord, st.sampled_from([ALL, NEW]), st.integers(1, 9))
waits = st.builds(Wait, st.sampled_from([1.0, 15.0, 45.0]))


@dataclass
class Model:
    """All that was ever appended; what is left of it is worked out at each read."""

    now: float = 0.0
    ids: list[str] = field(default_factory=list)
    data: list[bytes] = field(default_factory=list)
    expires: list[float] = field(default_factory=list)
    names: dict[str, tuple[str, float]] = field(default_factory=dict)

    def is_kept(self, n: int) -> bool:
        is_recent = n >= len(self.ids) - LIMITS.max_messages
        return is_recent and self.expires[n] > self.now

    def after(self, place: int, limit: int) -> tuple[list[int], int, int]:
        """Return what a page holds, where it ends and how many were lost."""
        kept = [n for n in range(place, len(self.ids)) if self.is_kept(n)]
        page = kept[:limit]
        end = page[-1] + 1 if len(page) == limit else len(self.ids)
        return page, end, end - place - len(page)


class Play:
    """Do the same to a log and to the model, and compare all answers."""

    def __init__(self, log: MessageLog, clock: list[float] | None) -> None:
        self.log = log
        self.clock = clock
        self.model = Model()
        self.key = uuid.uuid4().hex
        # Cursors that were given out, and how many messages lie before each.
        self.cursors: list[tuple[str, int]] = []

    async def run(self, steps: Sequence[Step]) -> None:
        for step in steps:
            match step:
                case Append():
                    await self.append(step)
                case Read():
                    await self.read(step)
                case ReadWord():
                    await self.read_word(step)
                case Wait() if self.clock is not None:
                    self.clock[0] += step.seconds
                    self.model.now += step.seconds
                case Wait():
                    pass

    async def append(self, step: Append) -> None:
        model = self.model
        messages = [
            NewMessage(self.key, b"%d" % (len(model.ids) + n), name, step.ttl)
            for n, name in enumerate(step.names)
        ]
        results = await self.log.append(messages)
        for message, result in zip(messages, results, strict=True):
            assert isinstance(result, Appended)
            known, until = model.names.get(message.id or "", ("", 0.0))
            if until > model.now:
                assert result == Appended(known, duplicate=True)
                continue
            assert not result.duplicate
            assert result.id not in model.ids
            lifetime = LIMITS.max_age if message.ttl is None else message.ttl
            model.ids.append(result.id)
            model.data.append(message.data)
            model.expires.append(model.now + min(lifetime, LIMITS.max_ttl))
            if message.id is not None:
                model.names[message.id] = (result.id, model.now + LIMITS.seen)
            self.cursors.append((result.id, len(model.ids)))

    async def read(self, step: Read) -> None:
        if not self.cursors:
            return
        cursor, place = self.cursors[-1 - step.cursor % len(self.cursors)]
        numbers, end, lost = self.model.after(place, step.limit)
        page = await self.log.read(self.key, cursor, step.limit)
        assert (page.gap, page.lost) == (lost > 0, lost)
        self.check(page, numbers, end)

    async def read_word(self, step: ReadWord) -> None:
        page = await self.log.read(self.key, step.word, step.limit)
        assert (page.gap, page.lost) == (False, 0)
        place = len(self.model.ids) if step.word == NEW else 0
        numbers, end, _ = self.model.after(place, step.limit)
        self.check(page, numbers, end)

    def check(self, page: object, numbers: list[int], end: int) -> None:
        model = self.model
        found = [(message.id, message.data) for message in page.messages]
        assert found == [(model.ids[n], model.data[n]) for n in numbers]
        if end > 0:
            assert page.cursor == model.ids[end - 1]
        self.cursors.append((page.cursor, end))


@settings(deadline=None, max_examples=300)
@given(st.lists(appends | reads | reads | words | waits, max_size=40))
def test_memory_does_as_the_model(steps: list[Step]) -> None:
    """With time passing, and messages that end before and after their neighbours."""
    clock = [1_700_000_000.0]
    log = MemoryLog(LIMITS, clock=lambda: clock[0])
    trio.run(Play(log, clock).run, steps)


@pytest.mark.slow
@settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(plays=st.lists(st.lists(appends | reads | reads | words, max_size=40)))
def test_redis_does_as_the_model(
    redis_server: RedisServer, plays: list[list[Step]]
) -> None:
    """Time stands still, nearly: what it does is in the suite of all logs."""

    async def main() -> None:
        url = redis_server.url
        async with open_stores(url, limit=5, log_limits=LIMITS) as stores:
            async with trio.open_nursery() as nursery:
                for steps in plays:
                    nursery.start_soon(Play(stores.log, None).run, steps)

    trio.run(main)
