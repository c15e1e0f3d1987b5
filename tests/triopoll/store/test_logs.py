"""One suite for every log."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from triopoll.store import (
    ALL,
    NEW,
    Appended,
    BadCursor,
    LogLimits,
    MemoryLog,
    MessageLog,
    NewMessage,
    Page,
    open_stores,
    with_retention,
)


class World:
    """A place for logs whose time can pass.

    In memory the clock is ours; Redis has its own, and we wait. Times are in ticks,
    which for Redis are long enough for a busy machine.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._time = 1_700_000_000.0
        self._is_memory = url == "memory://"
        self.tick = 1.0 if self._is_memory else 0.1

    async def pass_time(self, ticks: float) -> None:
        if self._is_memory:
            self._time += ticks * self.tick
        else:
            await trio.sleep(ticks * self.tick)

    @asynccontextmanager
    async def open_log(self, **ticks: float) -> AsyncIterator[MessageLog]:
        """Open a log; its limits are times."""
        limits = {name: value * self.tick for name, value in ticks.items()}
        async with self.open_limited(LogLimits(**limits)) as log:
            yield log

    @asynccontextmanager
    async def open_limited(self, log_limits: LogLimits) -> AsyncIterator[MessageLog]:
        if self._is_memory:
            yield MemoryLog(log_limits, clock=lambda: self._time)
            return
        async with open_stores(self._url, limit=5, log_limits=log_limits) as stores:
            yield stores.log


@pytest.fixture
def world(store_url: str) -> World:
    return World(store_url)


@pytest.fixture
async def log(world: World) -> AsyncIterator[MessageLog]:
    async with world.open_log() as log:
        yield log


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


async def test_readers_of_an_empty_log_have_few_cursors(world: World, key: str) -> None:
    """What is read after one is read once for all who have it."""
    async with world.open_log() as log:
        cursors = [(await log.read(key, NEW, 10)).cursor for _ in range(20)]
        assert len(set(cursors)) <= 2
        await append(log, key, b"1")
        for cursor in cursors:
            page = await log.read(key, cursor, 10)
            assert ([each.data for each in page.messages], page.gap) == ([b"1"], False)


@pytest.mark.slow
async def test_a_cursor_of_nothing_is_honoured_for_most_of_the_memory(
    world: World, key: str
) -> None:
    """However short that is, though the time in it is rounded."""
    async with world.open_log(max_age=3, max_ttl=3, memory=3) as log:
        for _ in range(3):
            start = (await log.read(key, NEW, 10)).cursor
            await world.pass_time(2)
            page = await log.read(key, start, 10)
            assert (page.messages, page.gap) == ((), False)


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


async def test_a_json_value_is_marked(log: MessageLog, key: str) -> None:
    """Its bytes are kept as they are, and the same bytes may be a text or a value."""
    values = [(b"[1.50 ]", True), (b"[1.50 ]", False), (b"null", True), (b"", False)]
    await log.append([NewMessage(key, data, is_json=mark) for data, mark in values])
    page = await log.read(key, ALL, 10)
    assert [(each.data, each.is_json) for each in page.messages] == values


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


async def test_a_page_holds_something(log: MessageLog, key: str) -> None:
    """A reader who asks for nothing would go on for ever."""
    with pytest.raises(ValueError, match="a page of 0 messages cannot be read"):
        await log.read(key, ALL, 0)


async def test_a_page_is_bounded_in_bytes(world: World, key: str) -> None:
    """A message that is too long for a page makes one of its own."""
    async with world.open_limited(LogLimits(page_bytes=10)) as log:
        ids = await append(log, key, b"12345", b"12345", b"12345", b"x" * 20, b"1")
        sizes: list[int] = []
        page = await log.read(key, ALL, 100)
        while page.messages:
            sizes.append(len(page.messages))
            page = await log.read(key, page.cursor, 100)
        assert len((await log.read(key, ALL, 100, share=2)).messages) == 1
        # However many share a page, each gets on.
        assert len((await log.read(key, ALL, 100, share=50)).messages) == 1
    assert sizes == [2, 2, 1]
    assert page.cursor == ids[-1]


async def test_a_long_log_is_read_whole(world: World, key: str) -> None:
    """Page size and length have nothing to do with each other."""
    data = [b"%d" % n for n in range(300)]
    async with world.open_log() as log:
        await append(log, key, *data)
        assert data_of(await log.read(key, ALL, 1000)) == data
        page = await log.read(key, ALL, 130)
        assert data_of(page) == data[:130]
        assert data_of(await log.read(key, page.cursor, 1000)) == data[130:]


async def test_the_length_is_limited(world: World, key: str) -> None:
    """The newest stay, and a reader who is too late learns how many are gone."""
    async with world.open_limited(LogLimits(max_messages=3)) as log:
        start = (await log.read(key, NEW, 10)).cursor
        ids = await append(log, key, *(b"%d" % n for n in range(5)))
        page = await log.read(key, start, 10)
        assert (ids_of(page), page.gap, page.lost) == (ids[2:], True, 2)
        page = await log.read(key, ids[0], 1)
        assert (ids_of(page), page.gap, page.lost) == (ids[2:3], True, 1)
        page = await log.read(key, ids[1], 10)
        assert (ids_of(page), page.gap, page.lost) == (ids[2:], False, 0)
        assert ids_of(await log.read(key, ALL, 10)) == ids[2:]


async def test_some_keys_have_limits_of_their_own(world: World, key: str) -> None:
    """Length, age and trimming, by both stores."""
    rules = [f"{key}/short*:length=2:trim=on", f"{key}/old*:age={3 * world.tick}"]
    limits = with_retention(LogLimits(max_messages=4), rules)
    async with world.open_limited(limits) as log:
        short, old, other = (f"{key}/{name}" for name in ("short", "old", "other"))
        data = [b"%d" % n for n in range(5)]
        ids = {each: await append(log, each, *data) for each in (short, old, other)}
        assert ids_of(await log.read(short, ALL, 10)) == ids[short][3:]
        assert ids_of(await log.read(other, ids[other][2], 10)) == ids[other][3:]
        assert ids_of(await log.read(other, ALL, 10)) == ids[other][1:]
        await log.read(short, ids[short][3], 10)
        assert ids_of(await log.read(short, ALL, 10)) == ids[short][4:]
        await world.pass_time(4)
        assert ids_of(await log.read(old, ALL, 10)) == []
        assert ids_of(await log.read(other, ALL, 10)) == ids[other][1:]


@pytest.mark.slow
async def test_the_age_is_limited(world: World, key: str) -> None:
    """What is too old is gone, and known to be."""
    async with world.open_log(max_age=3) as log:
        ids = await append(log, key, b"1", b"2")
        await world.pass_time(4)
        page = await log.read(key, ids[0], 10)
        assert page == Page((), ids[1], gap=True, lost=1)
        assert await log.read(key, page.cursor, 10) == Page((), ids[1])
        (third,) = await append(log, key, b"3")
        page = await log.read(key, ids[0], 10)
        assert (ids_of(page), page.gap, page.lost) == ([third], True, 1)
        assert await log.read(key, ALL, 10) == Page(page.messages, third)


@pytest.mark.slow
async def test_a_message_says_how_long_it_is_kept(world: World, key: str) -> None:
    """Up to a limit; what is gone from the middle is counted, and not delivered."""
    ttls = [None, 3, 10_000, 3, None]
    async with world.open_log(max_age=10, max_ttl=15) as log:
        ids: list[str] = []
        for ttl in ttls:
            (result,) = await log.append(
                [NewMessage(key, b"x", ttl=ttl and ttl * world.tick)]
            )
            assert isinstance(result, Appended)
            ids.append(result.id)
        await world.pass_time(4)
        kept = [ids[0], ids[2], ids[4]]
        assert ids_of(await log.read(key, ALL, 10)) == kept
        page = await log.read(key, ids[0], 1)
        assert (ids_of(page), page.lost) == ([ids[2]], 1)
        page = await log.read(key, page.cursor, 10)
        assert (ids_of(page), page.lost) == ([ids[4]], 1)
        await world.pass_time(8)
        assert ids_of(await log.read(key, ALL, 10)) == [ids[2]]
        await world.pass_time(5)
        assert await log.read(key, ALL, 10) == Page((), ids[4])


async def test_reading_may_trim(world: World, key: str) -> None:
    """Then a cursor says: I have it. Others who have not are told what they missed."""
    async with world.open_limited(LogLimits(trim_acked=True)) as log:
        ids = await append(log, key, b"1", b"2", b"3", b"4")
        page = await log.read(key, ids[1], 1)
        assert (ids_of(page), page.gap) == ([ids[2]], False)
        assert ids_of(await log.read(key, ALL, 10)) == ids[2:]
        page = await log.read(key, ids[0], 10)
        assert (ids_of(page), page.gap, page.lost) == (ids[2:], True, 1)
        page = await log.read(key, ids[3], 10)
        assert (ids_of(page), page.gap) == ([], False)
        assert await log.read(key, ALL, 10) == Page((), ids[3])


@pytest.mark.slow
async def test_a_forgotten_log_starts_anew(world: World, key: str) -> None:
    """A reader from before cannot be told how much it has missed, but that it may."""
    async with world.open_log(max_age=3, max_ttl=3, memory=3) as log:
        (old,) = await append(log, key, b"1")
        await world.pass_time(4)
        page = await log.read(key, old, 10)
        assert (page.messages, page.gap, page.lost) == ((), True, None)
        ids = await append(log, key, b"2", b"3")
        page = await log.read(key, old, 1)
        assert (ids_of(page), page.gap, page.lost) == (ids[:1], True, None)
        page = await log.read(key, page.cursor, 10)
        assert (ids_of(page), page.gap, page.lost) == (ids[1:], False, 0)


@pytest.mark.slow
async def test_a_cursor_of_nothing_grows_old(world: World, key: str) -> None:
    """When a log could have come and gone since."""
    async with world.open_log(max_age=3, max_ttl=3, memory=3) as log:
        start = (await log.read(key, NEW, 10)).cursor
        await world.pass_time(4)
        page = await log.read(key, start, 10)
        assert (page.messages, page.gap, page.lost) == ((), True, None)
        (only,) = await append(log, key, b"1")
        page = await log.read(key, start, 10)
        assert (ids_of(page), page.gap, page.lost) == ([only], True, None)


@pytest.mark.slow
async def test_a_reader_keeps_a_log_in_memory(world: World, key: str) -> None:
    """Who asks in time is not told of a gap when publishers pause for long."""
    async with world.open_log(max_age=2, max_ttl=8, memory=8) as log:
        (cursor,) = await append(log, key, b"1")
        for _ in range(3):
            await world.pass_time(5)
            page = await log.read(key, cursor, 10)
            assert page == Page((), cursor)


@pytest.mark.slow
async def test_names_are_forgotten(world: World, key: str) -> None:
    """And with the log still there, the second message of a name is another one."""
    async with world.open_log(seen=3) as log:
        message = NewMessage(key, b"1", id="x")
        (first,) = await log.append([message])
        await world.pass_time(4)
        (second,) = await log.append([message])
        assert isinstance(first, Appended)
        assert isinstance(second, Appended)
        assert not second.duplicate
        assert ids_of(await log.read(key, ALL, 10)) == [first.id, second.id]


async def test_a_cursor_of_another_life(log: MessageLog, key: str) -> None:
    """The storage was emptied; what it has now comes with the news."""
    (only,) = await append(log, key, b"1")
    epoch, n, tag = only.split(".")
    other = f"{int(epoch, 16) ^ 1:08x}"
    for cursor in (
        f"{other}.{n}.{tag}",
        f"{other}.1.0000",
        f"{other}.9999999999999999.0000",
    ):
        page = await log.read(key, cursor, 10)
        assert (ids_of(page), page.gap, page.lost) == ([only], True, None)
        page = await log.read(key + "other", cursor, 10)
        assert (page.messages, page.gap, page.lost) == ((), True, None)


async def test_a_cursor_of_a_message_that_was_never_there(
    log: MessageLog, key: str
) -> None:
    """Its number was given to another one, or to none: the last writes were lost."""
    ids = await append(log, key, b"1", b"2", b"3")
    epoch, n, tag = ids[1].split(".")
    wrong = f"{1 + int(tag, 16) % 0xFFFF:04x}"
    ahead = int(n) + 2
    for cursor in (
        f"{epoch}.{n}.{wrong}",
        f"{epoch}.{n}.0000",
        f"{epoch}.{int(n) + 1}.{wrong}",
        f"{epoch}.{ahead}.{tag}",
        f"{epoch}.9999999999999999.0000",
        f"{epoch}.{int(n) - 2}.{tag}",
        f"{epoch}.1.0000",
    ):
        page = await log.read(key, cursor, 10)
        assert (ids_of(page), page.gap, page.lost) == (ids, True, None), cursor
    assert ids[2] == page.cursor


@pytest.mark.parametrize("trim_acked", [False, True])
async def test_a_cursor_of_a_message_that_is_gone(
    world: World, key: str, trim_acked: bool
) -> None:
    """It proves itself all the same; a wrong one does not pass, and removes nothing."""
    limits = LogLimits(max_messages=3, trim_acked=trim_acked)
    async with world.open_limited(limits) as log:
        ids = await append(log, key, *(b"%d" % n for n in range(20)))
        for n, cursor in enumerate(ids[:17]):
            epoch, number, tag = cursor.split(".")
            wrong = f"{epoch}.{number}.{1 + int(tag, 16) % 0xFFFF:04x}"
            page = await log.read(key, wrong, 10)
            assert (ids_of(page), page.gap, page.lost) == (ids[17:], True, None)
            page = await log.read(key, cursor, 10)
            assert (ids_of(page), page.lost) == (ids[17:], 16 - n)


@pytest.mark.slow
async def test_an_unproven_cursor_acknowledges_nothing(world: World, key: str) -> None:
    """What lies before a message that is gone stays, for those who have not read it."""
    async with world.open_limited(LogLimits(trim_acked=True)) as log:
        ids: list[str] = []
        for ttl in (None, None, 3 * world.tick, None):
            (result,) = await log.append([NewMessage(key, b"x", ttl=ttl)])
            assert isinstance(result, Appended)
            ids.append(result.id)
        await world.pass_time(4)
        kept = [ids[0], ids[1], ids[3]]
        assert ids_of(await log.read(key, ALL, 10)) == kept
        epoch, number, tag = ids[2].split(".")
        wrong = f"{epoch}.{number}.{1 + int(tag, 16) % 0xFFFF:04x}"
        page = await log.read(key, wrong, 10)
        assert (ids_of(page), page.gap, page.lost) == (kept, True, None)
        assert ids_of(await log.read(key, ALL, 10)) == kept
        page = await log.read(key, ids[2], 10)
        assert (ids_of(page), page.gap) == ([ids[3]], False)
        assert ids_of(await log.read(key, ALL, 10)) == [ids[3]]


async def test_a_message_knows_when_it_came(world: World, key: str) -> None:
    """In Unix seconds, in order."""
    async with world.open_log() as log:
        await append(log, key, b"1")
        await world.pass_time(1)
        await append(log, key, b"2")
        first, second = (await log.read(key, ALL, 10)).messages
    assert 0.9 * world.tick < second.ts - first.ts < 5
    assert first.ts > 1.6e9


async def test_many_publishers_and_readers(log: MessageLog, key: str) -> None:
    """Each reader sees one order, the same for all, and all of it."""
    seen: list[list[str]] = [[] for _ in range(8)]
    start = (await log.read(key, NEW, 1)).cursor

    async def publish(n: int) -> None:
        for m in range(5):
            await append(log, key, b"%d-%d" % (n, m), b"%d+%d" % (n, m))

    async def follow(ids: list[str], limit: int) -> None:
        cursor = start
        while len(ids) < 80:
            page = await log.read(key, cursor, limit)
            assert not page.gap
            ids += ids_of(page)
            cursor = page.cursor

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            for limit, ids in enumerate(seen, 1):
                nursery.start_soon(follow, ids, limit)
            for n in range(8):
                nursery.start_soon(publish, n)
    assert len(set(seen[0])) == 80
    assert all(ids == seen[0] for ids in seen)
