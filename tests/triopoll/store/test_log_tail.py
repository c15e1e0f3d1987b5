"""The end of a log, over every store."""

from __future__ import annotations

import trio

from triopoll.store import (
    ALL,
    LogTail,
    MessageLog,
    NewMessage,
    open_stores,
    parse_cursor,
)


async def fill(log: MessageLog, key: str, *data: bytes) -> None:
    await log.append([NewMessage(key, each) for each in data])


async def test_the_newest_come_first(store_url: str, key: str) -> None:
    """Page by page backwards; the head is where a reader would be who has all."""
    async with open_stores(store_url, limit=5) as stores:
        await fill(stores.log, key, b"1", b"2", b"3")
        tail = await stores.log.tail(key, 2, 100)
        assert [each.data for each in tail.messages] == [b"3", b"2"]
        assert (tail.head, tail.stored) == (tail.messages[0].id, 3)
        assert tail.before == parse_cursor(tail.messages[1].id).n
        rest = await stores.log.tail(key, 2, 100, tail.before)
        assert [each.data for each in rest.messages] == [b"1"]
        assert rest.before is None
        page = await stores.log.read(key, ALL, 10)
        ids = [each.id for each in (*tail.messages, *rest.messages)]
        assert ids == [each.id for each in reversed(page.messages)]


async def test_long_messages_are_cut(store_url: str, key: str) -> None:
    """With their size, and whether they are JSON."""
    async with open_stores(store_url, limit=5) as stores:
        draft = NewMessage(key, b'"' + b"x" * 5000 + b'"', is_json=True)
        await stores.log.append([draft])
        (message,) = (await stores.log.tail(key, 9, 10)).messages
    assert (message.data, message.size) == (b'"xxxxxxxxx', 5002)
    assert message.is_json
    assert message.ts > 1.7e9


async def test_a_log_that_is_not_there(store_url: str, key: str) -> None:
    """It has neither a head nor messages, and is not created by the look."""
    async with open_stores(store_url, limit=5) as stores:
        await fill(stores.log, f"another-{key}", b"1")
        assert await stores.log.tail(key, 5, 10) == LogTail(None, 0, (), None)
        assert await stores.log.heads([key]) == [""]


async def test_messages_whose_time_is_over(store_url: str, key: str) -> None:
    """They are not shown; the look goes on behind them."""
    async with open_stores(store_url, limit=5) as stores:
        await fill(stores.log, key, b"old")
        await stores.log.append([NewMessage(key, b"short", ttl=0.001)])
        while True:
            tail = await stores.log.tail(key, 1, 10)
            if not tail.messages:
                break
            await trio.sleep(0.001)
        assert tail.before is not None
        (older,) = (await stores.log.tail(key, 1, 10, tail.before)).messages
    assert older.data == b"old"
