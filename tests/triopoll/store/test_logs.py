"""One suite for every log."""

import uuid
from collections.abc import AsyncIterator

import pytest
from tests.services import RedisServer

from triopoll.store import (
    ALL,
    NEW,
    Appended,
    BadCursor,
    MessageLog,
    NewMessage,
    Page,
    open_stores,
)


@pytest.fixture
def key() -> str:
    return f"log-{uuid.uuid4().hex}"


@pytest.fixture(params=["memory", "redis"])
async def log(request: pytest.FixtureRequest) -> AsyncIterator[MessageLog]:
    url = "memory://"
    if request.param == "redis":
        server: RedisServer = request.getfixturevalue("redis_server")
        url = server.url
    async with open_stores(url, limit=5) as stores:
        yield stores.log


async def append(log: MessageLog, key: str, *data: bytes) -> list[str]:
    """Append messages in one go and return their ids."""
    results = await log.append([NewMessage(key, item) for item in data])
    ids: list[str] = []
    for result in results:
        assert isinstance(result, Appended)
        assert not result.duplicate
        ids.append(result.id)
    return ids


def data_of(page: Page) -> list[bytes]:
    return [message.data for message in page.messages]


def ids_of(page: Page) -> list[str]:
    return [message.id for message in page.messages]


async def test_a_reader_gets_everything_in_order(log: MessageLog, key: str) -> None:
    """From the beginning of its interest on, page by page."""
    start = (await log.read(key, NEW, 10)).cursor
    ids = await append(log, key, b"1", b"2", b"3")
    page = await log.read(key, start, 2)
    assert (data_of(page), page.gap, page.lost) == ([b"1", b"2"], False, 0)
    assert ids_of(page) == ids[:2]
    assert page.cursor == ids[1]
    page = await log.read(key, page.cursor, 2)
    assert (data_of(page), page.gap, page.lost) == ([b"3"], False, 0)
    assert page.cursor == ids[2]
    assert await log.read(key, page.cursor, 2) == Page((), ids[2])


async def test_the_same_cursor_gives_the_same_again(log: MessageLog, key: str) -> None:
    """Reading takes nothing away, for nobody."""
    first, *_ = await append(log, key, b"1", b"2", b"3")
    pages = [await log.read(key, first, 10) for _ in range(3)]
    assert data_of(pages[0]) == [b"2", b"3"]
    assert pages[0] == pages[1] == pages[2]


async def test_new_is_from_now_on(log: MessageLog, key: str) -> None:
    """What was there before is neither delivered nor called lost."""
    *_, last = await append(log, key, b"1", b"2")
    assert await log.read(key, NEW, 10) == Page((), last)


async def test_all_is_what_is_kept(log: MessageLog, key: str) -> None:
    """Also where nothing is."""
    page = await log.read(key, ALL, 10)
    assert (page.messages, page.gap, page.lost) == ((), False, 0)
    ids = await append(log, key, b"1", b"2")
    assert ids_of(await log.read(key, page.cursor, 10)) == ids
    page = await log.read(key, ALL, 10)
    assert (ids_of(page), page.cursor, page.gap) == (ids, ids[1], False)


async def test_a_cursor_of_nothing_goes_on(log: MessageLog, key: str) -> None:
    """Whoever asks before the first message gets the first message."""
    page = await log.read(key, NEW, 10)
    for _ in range(3):
        page = await log.read(key, page.cursor, 10)
        assert (page.messages, page.gap, page.lost) == ((), False, 0)
    await append(log, key, b"1")
    assert data_of(await log.read(key, page.cursor, 10)) == [b"1"]


async def test_a_duplicate_is_not_stored(log: MessageLog, key: str) -> None:
    """A publisher that tries again learns the id of the first try."""
    message = NewMessage(key, b"1", id="x")
    (first,) = await log.append([message])
    assert isinstance(first, Appended)
    assert not first.duplicate
    again = await log.append([message, NewMessage(key, b"2"), message])
    assert again[0] == again[2] == Appended(first.id, duplicate=True)
    (within, twice) = await log.append([NewMessage(key, b"3", id="y")] * 2)
    assert isinstance(within, Appended)
    assert twice == Appended(within.id, duplicate=True)
    assert data_of(await log.read(key, ALL, 10)) == [b"1", b"2", b"3"]


async def test_names_of_different_keys_are_different(log: MessageLog, key: str) -> None:
    """However they are put together."""
    messages = [
        NewMessage(key, b"1", id="a:b"),
        NewMessage(key + ":a", b"2", id="b"),
        NewMessage(key, b"3", id=""),
        NewMessage(key, b"4"),
    ]
    results = await log.append(messages)
    assert [getattr(result, "duplicate", None) for result in results] == [False] * 4


async def test_several_logs_at_once(log: MessageLog, key: str) -> None:
    """Each message goes to its log, and answers come in the order of the messages."""
    messages = [NewMessage(f"{key}{n % 3}", b"%d" % n) for n in range(9)]
    results = await log.append(messages)
    for n in range(3):
        page = await log.read(f"{key}{n}", ALL, 10)
        assert data_of(page) == [b"%d" % (n + 3 * m) for m in range(3)]
        assert ids_of(page) == [getattr(r, "id", None) for r in results[n::3]]
    assert await log.append([]) == []


async def test_a_message_may_be_any_bytes(log: MessageLog, key: str) -> None:
    """Nothing is decoded on the way, and an empty message is one."""
    data = [bytes(range(256)) * 300, b"", b"\r\n$-1\r\n"]
    await append(log, key, *data)
    assert data_of(await log.read(key, ALL, 10)) == data


async def test_keys_are_text_of_any_kind(log: MessageLog, key: str) -> None:
    """A key is what somebody typed."""
    key += " ä\r\n\x00🐘"
    await log.append([NewMessage(key, b"1", id="ä\x00")])
    assert data_of(await log.read(key, ALL, 10)) == [b"1"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "NEW",
        "0",
        "00000000.1",
        "00000000.0.0000",
        "00000000.1.0000 ",
        "00000000.1.0000\n",
        "00000000.-1.0000",
        "00000000.1e3.0000",
        "00000000.٣.0000",
        "0000000G.1.0000",
        "00000000.12345678901234567.0000",
        "\x00",
        "1.1.1" * 100_000,
    ],
)
async def test_text_that_is_no_cursor(log: MessageLog, key: str, text: str) -> None:
    """It is refused, at once."""
    with pytest.raises(BadCursor, match="must be new, all, or one from an answer"):
        await log.read(key, text, 10)


async def test_a_mark_changes_with_each_append(log: MessageLog, key: str) -> None:
    """And with nothing else."""
    keys = [key, key + "other"]
    marks = [await log.heads(keys)]
    for _ in range(3):
        await append(log, key, b"1")
        marks.append(await log.heads(keys))
        await log.read(key, ALL, 10)
        assert await log.heads(keys) == marks[-1]
    assert len({mine for mine, _ in marks}) == 4
    assert len({other for _, other in marks}) == 1
    assert await log.heads([]) == []
