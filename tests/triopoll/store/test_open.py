"""One suite for every store of lists."""

from collections.abc import AsyncIterator

import pytest

from triopoll.store import Delivery, MessageStore, open_stores


@pytest.fixture
async def store(store_url: str) -> AsyncIterator[MessageStore]:
    async with open_stores(store_url, limit=5) as stores:
        yield stores.lists


async def take(store: MessageStore, key: str) -> Delivery:
    taken = await store.pop(key)
    assert taken is not None
    assert taken.key == key
    return taken


async def empty(store: MessageStore, key: str) -> list[bytes]:
    """Take all that is there, for good."""
    messages: list[bytes] = []
    while (taken := await store.pop(key)) is not None:
        messages.append(taken.data)
        store.ack(taken)
    return messages


async def test_first_in_first_out(store: MessageStore, key: str) -> None:
    """Messages leave in the order in which they came, then there are none."""
    assert [await store.push(key, b"%d" % n) for n in range(3)] == [1, 2, 3]
    assert await empty(store, key) == [b"0", b"1", b"2"]


async def test_given_back_means_first_again(store: MessageStore, key: str) -> None:
    """What could not be delivered is the next to be delivered."""
    await store.push(key, b"1")
    await store.push(key, b"2")
    first = await take(store, key)
    assert first.data == b"1"
    store.nack(first)
    assert await empty(store, key) == [b"1", b"2"]


async def test_given_back_once(store: MessageStore, key: str) -> None:
    """However often it is said, and also if it was confirmed before."""
    await store.push(key, b"1")
    await store.push(key, b"2")
    first = await take(store, key)
    store.nack(first)
    store.nack(first)
    again = await take(store, key)
    store.nack(first)
    assert again.data == b"1"
    store.ack(again)
    store.nack(again)
    store.ack(again)
    assert await empty(store, key) == [b"2"]


async def test_a_message_may_be_any_bytes(store: MessageStore, key: str) -> None:
    """Nothing is decoded on the way, there and back."""
    message = bytes(range(256)) * 300
    await store.push(key, message)
    store.nack(await take(store, key))
    assert await empty(store, key) == [message]


async def test_an_empty_message_is_one(store: MessageStore, key: str) -> None:
    """It is not mistaken for an empty list."""
    await store.push(key, b"")
    store.nack(await take(store, key))
    assert await empty(store, key) == [b""]


async def test_keys_are_text_of_any_kind(store: MessageStore, key: str) -> None:
    """A key is what a visitor typed."""
    key += " ä\r\n\x00🐘"
    await store.push(key, b"1")
    store.nack(await take(store, key))
    assert await empty(store, key) == [b"1"]


async def test_ping(store: MessageStore) -> None:
    """A store that is up says so."""
    await store.ping()


async def test_what_is_known_of_redis(store_url: str) -> None:
    """Where it is and that it serves; in memory there is none."""
    async with open_stores(store_url, limit=5) as stores:
        await stores.lists.ping()
        servers = stores.status()
    assert bool(servers) == (store_url != "memory://")
    for server in servers:
        assert server.address.startswith("127.0.0.1:")
        assert (server.fault, server.changes, server.changed_at) == ("", 0, None)
