"""What is particular to messages in memory."""

import pytest
import trio

from triopoll.store import Budget, MemoryStore, StoreFailed


async def test_the_memory_is_bounded() -> None:
    """A publisher whom nobody polls cannot fill the process."""
    store = MemoryStore(budget=Budget(10))
    await store.push("k", b"x" * 6)
    with pytest.raises(StoreFailed, match="full"):
        await store.push("k", b"x" * 5)
    taken = await store.pop("k")
    assert taken is not None
    with pytest.raises(StoreFailed, match="full"):
        await store.push("k", b"x" * 5)
    store.ack(taken)
    assert await store.push("k", b"x" * 10) == 1


async def test_an_empty_list_costs_nothing() -> None:
    """Keys come from visitors, so what has been emptied must not stay behind."""
    store = MemoryStore()
    await store.push("k", b"1")
    taken = await store.pop("k")
    assert taken is not None
    store.ack(taken)
    store.ack(taken)
    store.nack(taken)
    assert repr(store) == "<MemoryStore: 0 lists, 0 bytes>"


async def test_a_cancelled_pop_takes_nothing() -> None:
    """The cancel comes before the message, or not at all."""
    store = MemoryStore()
    await store.push("k", b"1")
    with trio.CancelScope() as scope:
        scope.cancel()
        await store.pop("k")
    assert scope.cancelled_caught
    taken = await store.pop("k")
    assert taken is not None
    assert taken.data == b"1"
