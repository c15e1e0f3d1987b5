"""An ``async with`` in an async generator that another task closes.

The key is released, and an error says what is wrong.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest
import trio
from tests.trioslock.backends import NOTHING, MemoryBackend
from trio.testing import MockClock, wait_all_tasks_blocked

from trioslock import Client

Started = trio.TaskStatus[AsyncGenerator[int]]

pytestmark = pytest.mark.usefixtures("scopes")

HANDLES: dict[str, Callable[[Client], Any]] = {
    "lock": lambda client: client.lock("key"),
    "lock of seconds": lambda client: client.lock("key", lease=30),
    "fenced": lambda client: client.lock("key", fenced=True),
    "rlock": lambda client: client.rlock("key"),
    "read": lambda client: client.rwlock("key").read(),
    "write": lambda client: client.rwlock("key").write(),
    "semaphore": lambda client: client.semaphore("key", 3),
    "concurrency": lambda client: client.concurrency("key", 3),
    "tree": lambda client: client.tree("key"),
    "leaf": lambda client: client.tree("key").leaf(),
}


async def holding(handle: Any) -> AsyncGenerator[int]:
    async with handle:
        yield 1
        yield 2


async def close(generator: AsyncGenerator[int], errors: list[BaseException]) -> None:
    try:
        await generator.aclose()
    except RuntimeError as error:
        errors.append(error)


@pytest.mark.parametrize("name", HANDLES)
async def test_the_key_is_released_and_a_sentence_is_raised(
    autojump_clock: MockClock, memory: MemoryBackend, name: str
) -> None:
    async with memory.open_client() as client:
        errors: list[BaseException] = []

        async def start(
            task_status: Started = trio.TASK_STATUS_IGNORED,
        ) -> None:
            generator = holding(HANDLES[name](client))
            assert await anext(generator) == 1
            task_status.started(generator)
            with trio.CancelScope(shield=True):
                await closed.wait()

        closed = trio.Event()
        outcome: BaseException | None = None
        try:
            async with trio.open_nursery() as nursery:
                generator = await nursery.start(start)
                assert await memory.claims("key") != NOTHING
                await close(generator, errors)
                assert await memory.claims("key") == NOTHING
                closed.set()
        except* RuntimeError as group:
            # Of trio, where a scope cannot be taken from the task that entered it.
            outcome = group
        (error,) = errors
        assert "entered by the task" in str(error)
        assert "its key has been released" in str(error)
        assert outcome is None or "Cancel scope stack corrupted" in repr(outcome)
        async with client.lock("key"):
            pass


async def test_only_the_body_that_ended_is_left(
    autojump_clock: MockClock, memory: MemoryBackend, scopes: str
) -> None:
    """The task that closes has a permit of its own, of the same handle."""
    if scopes == "of trio":
        pytest.skip("trio reports the scope to the other task, which ends it")
    async with memory.open_client() as client, trio.open_nursery() as nursery:
        permits = client.semaphore("key", 3)
        errors: list[BaseException] = []
        closed = trio.Event()

        async def start(
            task_status: Started = trio.TASK_STATUS_IGNORED,
        ) -> None:
            generator = holding(permits)
            assert await anext(generator) == 1
            async with permits:
                task_status.started(generator)
                await closed.wait()
                assert await memory.claims("key") == (2, 0)

        async with permits as own:
            generator = await nursery.start(start)
            assert await memory.claims("key") == (3, 0)
            await close(generator, errors)
            assert await memory.claims("key") == (2, 0)
            assert own.held
            closed.set()
            await wait_all_tasks_blocked()
            assert await memory.claims("key") == (1, 0)
        assert len(errors) == 1
        assert await memory.claims("key") == NOTHING


async def test_a_client_that_another_task_closes(
    autojump_clock: MockClock, memory: MemoryBackend
) -> None:
    """Its connection is closed, and the error is a sentence as well."""
    errors: list[BaseException] = []

    async def client_of() -> AsyncGenerator[int]:
        async with memory.open_client() as client:
            await client.lock("key").acquire()
            yield 1

    async def start(
        task_status: Started = trio.TASK_STATUS_IGNORED,
    ) -> None:
        generator = client_of()
        assert await anext(generator) == 1
        task_status.started(generator)
        await trio.sleep(60)

    # The task that opened it ends in trio's own error: its nursery is still open.
    with pytest.raises(BaseExceptionGroup):
        async with trio.open_nursery() as nursery:
            generator = await nursery.start(start)
            await close(generator, errors)
            await trio.sleep(30)
            assert await memory.claims("key") == NOTHING
            raise ValueError("the body ends")
    (error,) = errors
    assert "opened by the task" in str(error)
