"""One suite for every store."""

import uuid
from collections.abc import AsyncIterator

import pytest
from tests.services import RedisServer

from triopoll.store import MessageStore, open_stores


@pytest.fixture
def key() -> str:
    return f"list-{uuid.uuid4().hex}"


@pytest.fixture(params=["memory", "redis"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[MessageStore]:
    url = "memory://"
    if request.param == "redis":
        server: RedisServer = request.getfixturevalue("redis_server")
        url = server.url
    async with open_stores(url, limit=5) as stores:
        yield stores.lists


async def test_first_in_first_out(store: MessageStore, key: str) -> None:
    """Messages leave in the order in which they came, then there are none."""
    assert [await store.push(key, b"%d" % n) for n in range(3)] == [1, 2, 3]
    assert [await store.pop(key) for _ in range(4)] == [b"0", b"1", b"2", None]


async def test_given_back_means_first_again(store: MessageStore, key: str) -> None:
    """What could not be delivered is the next to be delivered."""
    await store.push(key, b"1")
    await store.push(key, b"2")
    first = await store.pop(key)
    assert first == b"1"
    store.give_back(key, first)
    assert [await store.pop(key) for _ in range(3)] == [b"1", b"2", None]


async def test_a_message_may_be_any_bytes(store: MessageStore, key: str) -> None:
    """Nothing is decoded on the way."""
    message = bytes(range(256)) * 300
    await store.push(key, message)
    assert await store.pop(key) == message


async def test_keys_are_text_of_any_kind(store: MessageStore, key: str) -> None:
    """A key is what a visitor typed."""
    key += " ä\r\n\x00🐘"
    await store.push(key, b"1")
    assert await store.pop(key) == b"1"


async def test_ping(store: MessageStore) -> None:
    """A store that is up says so."""
    await store.ping()
