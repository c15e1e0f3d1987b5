"""One suite for every store of streams, and the form of offsets."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator

import pytest
import trio

from triopoll.store import (
    START,
    NewAppend,
    NewStream,
    Offset,
    Producer,
    Refused,
    StreamAppended,
    StreamCreated,
    StreamLimits,
    StreamPage,
    StreamRefusal,
    StreamStore,
    kind_of,
    open_stores,
    parse_offset,
)

TEXT = NewStream(content_type="Text/Plain; charset=utf-8")
UNKNOWN_OFFSET = Offset(1_800_000_000_000_000, "0000000000000001")


@pytest.fixture
async def streams(store_url: str) -> AsyncIterator[StreamStore]:
    limits = StreamLimits(max_bytes=4096, page_bytes=100, max_forks=3)
    async with open_stores(store_url, limit=5, stream_limits=limits) as stores:
        yield stores.streams


async def made(streams: StreamStore, path: str, new: NewStream = TEXT) -> StreamCreated:
    created = await streams.create(path, new)
    assert isinstance(created, StreamCreated), created
    return created


async def put(streams: StreamStore, path: str, data: bytes) -> Offset:
    """Append; return the end."""
    appended = await streams.append(path, NewAppend(kind="text/plain", data=data))
    assert isinstance(appended, StreamAppended), appended
    return appended.tail


async def page_of(
    streams: StreamStore, path: str, after: Offset | None = START
) -> StreamPage:
    page = await streams.read(path, after)
    assert isinstance(page, StreamPage), page
    return page


async def text_of(streams: StreamStore, path: str, after: Offset = START) -> bytes:
    """Read to the end."""
    pieces: list[bytes] = []
    while True:
        page = await page_of(streams, path, after)
        pieces += [entry.data for entry in page.entries]
        if page.up_to_date:
            return b"".join(pieces)
        after = page.end


def reason(outcome: object) -> StreamRefusal:
    assert isinstance(outcome, Refused), outcome
    return outcome.reason


# --- creating and reading -------------------------------------------------------------


async def test_made_and_found(streams: StreamStore, key: str) -> None:
    """A second creation finds it if nothing differs, in its type not the letters."""
    first = await made(streams, key)
    assert first.is_new
    assert first.view.content_type == "Text/Plain; charset=utf-8"
    again = await made(streams, key, NewStream(content_type="text/plain"))
    assert (again.is_new, again.view) == (False, first.view)
    assert await streams.look(key) == first.view
    for other in (
        NewStream(content_type="text/html"),
        NewStream(content_type="text/plain", ttl=60),
        NewStream(content_type="text/plain", expires="x", expires_at=2 * 10**12),
        NewStream(content_type="text/plain", closed=True),
    ):
        assert reason(await streams.create(key, other)) is StreamRefusal.CONFLICT


async def test_unknown(streams: StreamStore, key: str) -> None:
    """Only creation makes a stream."""
    assert reason(await streams.read(key, START)) is StreamRefusal.UNKNOWN
    assert reason(await streams.look(key)) is StreamRefusal.UNKNOWN
    assert reason(await streams.delete(key)) is StreamRefusal.UNKNOWN
    append = NewAppend(kind="text/plain", data=b"x")
    assert reason(await streams.append(key, append)) is StreamRefusal.UNKNOWN


async def test_what_is_appended_is_read(streams: StreamStore, key: str) -> None:
    """In order, byte by byte, from every offset that was given out."""
    first = NewStream(content_type="text/plain", data=b"\x00first")
    offsets = [(await made(streams, key, first)).view.tail]
    pieces = [b"\x00first"]
    for n in range(5):
        pieces.append(bytes(range(256))[n:])
        offsets.append(await put(streams, key, pieces[-1]))
    texts = [str(offset) for offset in offsets]
    assert texts == sorted(set(texts))
    assert await text_of(streams, key) == b"".join(pieces)
    for n, offset in enumerate(offsets):
        assert await text_of(streams, key, offset) == b"".join(pieces[n + 1 :])


async def test_pages(streams: StreamStore, key: str) -> None:
    """A page ends with the append that fills it, and says whether it is the end."""
    await made(streams, key)
    for _ in range(5):
        await put(streams, key, b"x" * 40)
    page = await page_of(streams, key)
    assert [len(entry.data) for entry in page.entries] == [40, 40, 40]
    assert not page.up_to_date
    rest = await page_of(streams, key, page.end)
    assert (len(rest.entries), rest.up_to_date, rest.start) == (2, True, page.end)
    at_end = await page_of(streams, key, rest.end)
    assert (list(at_end.entries), at_end.up_to_date) == ([], True)
    now = await page_of(streams, key, None)
    assert (list(now.entries), now.start, now.up_to_date) == ([], rest.end, True)


async def test_appends_of_unlike_lengths(streams: StreamStore, key: str) -> None:
    """A page of many small ones is found in several steps, and whole."""
    await made(streams, key)
    await put(streams, key, b"x" * 1000)
    for _ in range(20):
        await put(streams, key, b"y")
    assert await text_of(streams, key) == b"x" * 1000 + b"y" * 20


async def test_offsets_of_no_append(streams: StreamStore, key: str) -> None:
    """Neither another number nor another tag is honoured."""
    await made(streams, key)
    tail = await put(streams, key, b"x")
    for offset in (
        UNKNOWN_OFFSET,
        Offset(tail.number + 1, tail.tag),
        Offset(tail.number, "0000000000000001"),
        Offset(1, "0" * 16),
    ):
        assert reason(await streams.read(key, offset)) is StreamRefusal.LOST_OFFSET


async def test_deleted_and_made_again(streams: StreamStore, key: str) -> None:
    """Nothing of the old stream is there, and its offsets are not honoured."""
    old = await made(streams, key)
    tail = await put(streams, key, b"old")
    producer = Producer("p", 0, 0)
    append = NewAppend(kind="text/plain", data=b"x", seq=b"9", producer=producer)
    await streams.append(key, append)
    assert await streams.delete(key) is None
    assert reason(await streams.read(key, START)) is StreamRefusal.UNKNOWN
    new = await made(streams, key)
    assert new.view.id != old.view.id
    assert await text_of(streams, key) == b""
    assert reason(await streams.read(key, tail)) is StreamRefusal.LOST_OFFSET
    again = await streams.append(key, append)
    assert isinstance(again, StreamAppended)
    assert not again.duplicate


async def test_marks(streams: StreamStore) -> None:
    """Each change of a stream gives it another mark, and others keep theirs."""
    paths = [f"p/{uuid.uuid4().hex}" for _ in range(3)]
    seen = {tuple(await streams.heads(paths))}
    await made(streams, paths[1])
    seen.add(tuple(await streams.heads(paths)))
    await put(streams, paths[1], b"x")
    seen.add(tuple(await streams.heads(paths)))
    await streams.append(paths[1], NewAppend(closes=True))
    seen.add(tuple(await streams.heads(paths)))
    assert len(seen) == 4
    assert len({(marks[0], marks[2]) for marks in seen}) == 1
    await streams.delete(paths[1])
    assert tuple(await streams.heads(paths)) in seen


# --- appending ------------------------------------------------------------------------


async def test_closing(streams: StreamStore, key: str) -> None:
    """The last append and the end come together; nothing comes after them."""
    await made(streams, key)
    last = NewAppend(kind="text/plain", data=b"last", closes=True)
    closed = await streams.append(key, last)
    assert isinstance(closed, StreamAppended)
    assert closed.closed
    page = await page_of(streams, key)
    assert (page.view.closed, page.entries[-1].data) == (True, b"last")
    refused = await streams.append(key, last)
    assert refused == Refused(reason=StreamRefusal.CLOSED, tail=closed.tail)
    again = await streams.append(key, NewAppend(closes=True))
    assert again == StreamAppended(tail=closed.tail, closed=True, duplicate=True)
    assert reason(await streams.create(key, TEXT)) is StreamRefusal.CONFLICT


async def test_another_type(streams: StreamStore, key: str) -> None:
    """It is refused, but not for a close without data."""
    await made(streams, key)
    append = NewAppend(kind="application/json", data=b"1")
    assert reason(await streams.append(key, append)) is StreamRefusal.WRONG_TYPE
    closed = await streams.append(key, NewAppend(kind="a/b", closes=True))
    assert isinstance(closed, StreamAppended)


async def test_sequences(streams: StreamStore, key: str) -> None:
    """Each is above the last one, by its bytes, in whatever locale the store runs."""
    await made(streams, key)
    for seq, is_above in (
        (b"B", True),
        (b"a", True),
        (b"B", False),
        (b"a", False),
        (b"a0", True),
        (b"a", False),
        (b"\xe4", True),
        (b"z", False),
    ):
        append = NewAppend(kind="text/plain", data=b"x", seq=seq)
        outcome = await streams.append(key, append)
        assert isinstance(outcome, StreamAppended) is is_above, seq
        if not is_above:
            assert reason(outcome) is StreamRefusal.OLD_SEQ


async def test_a_full_stream(streams: StreamStore, key: str) -> None:
    """It refuses what is beyond its limit, can be closed, and keeps what it has."""
    await made(streams, key)
    await put(streams, key, b"x" * 3900)
    append = NewAppend(kind="text/plain", data=b"y" * 100)
    assert reason(await streams.append(key, append)) is StreamRefusal.STREAM_FULL
    producer = Producer("p" * 100, 0, 0)
    append = NewAppend(kind="text/plain", data=b"y", producer=producer)
    assert reason(await streams.append(key, append)) is StreamRefusal.STREAM_FULL
    closed = await streams.append(key, NewAppend(closes=True))
    assert isinstance(closed, StreamAppended)
    assert await text_of(streams, key) == b"x" * 3900
    long = NewStream(content_type="text/plain", data=b"x" * 5000)
    assert reason(await streams.create(key + "b", long)) is StreamRefusal.STREAM_FULL
    assert reason(await streams.look(key + "b")) is StreamRefusal.UNKNOWN


async def test_producers(streams: StreamStore, key: str) -> None:
    """Each number is appended once; what was not accepted names what would be."""
    await made(streams, key)

    async def send(epoch: int, seq: int, name: str = "p") -> StreamAppended | Refused:
        producer = Producer(name, epoch, seq)
        append = NewAppend(kind="text/plain", data=b"%d" % seq, producer=producer)
        return await streams.append(key, append)

    def accepted(outcome: object) -> int | None:
        assert isinstance(outcome, StreamAppended), outcome
        return None if outcome.duplicate else outcome.seq

    gap = await send(0, 1)
    assert gap == Refused(reason=StreamRefusal.SEQ_GAP, expected=0)
    assert [accepted(await send(0, n)) for n in (0, 1, 1, 0, 2)] == [
        0,
        1,
        None,
        None,
        2,
    ]
    duplicate = await send(0, 0)
    assert isinstance(duplicate, StreamAppended)
    assert duplicate.seq == 2
    assert reason(await send(3, 1)) is StreamRefusal.NEW_EPOCH
    assert accepted(await send(3, 0)) == 0
    stale = await send(2, 0)
    assert stale == Refused(reason=StreamRefusal.STALE_EPOCH, epoch=3)
    assert accepted(await send(0, 0, "other")) == 0
    most = 2**53 - 1
    assert accepted(await send(most, 0)) == 0
    assert await send(most - 1, 0) == Refused(
        reason=StreamRefusal.STALE_EPOCH, epoch=most
    )
    assert await text_of(streams, key) == b"012" + b"0" + b"0" + b"0"


async def test_a_producer_that_closes(streams: StreamStore, key: str) -> None:
    """Its retry is known as one, with whatever body; all others are refused."""
    await made(streams, key)
    first, second = Producer("p", 1, 0), Producer("p", 1, 1)
    closes = NewAppend(kind="text/plain", data=b"a", closes=True, producer=first)
    closed = await streams.append(key, closes)
    assert isinstance(closed, StreamAppended)
    retry = NewAppend(kind="text/plain", data=b"b", closes=True, producer=first)
    again = await streams.append(key, retry)
    assert again == StreamAppended(tail=closed.tail, closed=True, duplicate=True, seq=0)
    for producer, expected in (
        (second, StreamRefusal.CLOSED),
        (Producer("q", 0, 0), StreamRefusal.CLOSED),
        (Producer("p", 0, 0), StreamRefusal.STALE_EPOCH),
    ):
        append = NewAppend(closes=True, producer=producer)
        assert reason(await streams.append(key, append)) is expected
    assert await text_of(streams, key) == b"a"


async def test_a_duplicate_is_known_before_its_sequence(
    streams: StreamStore, key: str
) -> None:
    """A retry with Stream-Seq is a duplicate, not one that comes too late."""
    await made(streams, key)
    append = NewAppend(
        kind="text/plain", data=b"x", seq=b"1", producer=Producer("p", 0, 0)
    )
    await streams.append(key, append)
    again = await streams.append(key, append)
    assert isinstance(again, StreamAppended)
    assert again.duplicate


async def test_writers_at_once(streams: StreamStore, key: str) -> None:
    """All that they append is there, each at an offset of its own."""
    await made(streams, key)
    tails: list[Offset] = []

    async def write(n: int) -> None:
        tails.append(await put(streams, key, b"%02d" % n))

    async with trio.open_nursery() as nursery:
        for n in range(20):
            nursery.start_soon(write, n)
    assert len(set(tails)) == 20
    text = await text_of(streams, key)
    found = sorted(text[n : n + 2] for n in range(0, len(text), 2))
    assert found == [b"%02d" % n for n in range(20)]


# --- time -----------------------------------------------------------------------------


@pytest.mark.slow
async def test_time_to_live(streams: StreamStore, key: str) -> None:
    """It begins anew with reads and appends, and not with a look."""
    short = NewStream(content_type="text/plain", ttl=1)
    for name in ("read", "append", "look"):
        await made(streams, key + name, short)
    for _ in range(3):
        await trio.sleep(0.5)
        await streams.read(key + "read", None)
        await put(streams, key + "append", b"x")
        await streams.look(key + "look")
    assert reason(await streams.look(key + "look")) is StreamRefusal.UNKNOWN
    assert await text_of(streams, key + "append") == b"xxx"
    assert (await page_of(streams, key + "read")).view.ttl == 1
    await streams.read(key + "read", START, touches=False)
    again = await made(streams, key + "look", short)
    assert again.is_new


@pytest.mark.slow
async def test_an_end(streams: StreamStore, key: str) -> None:
    """It does not move."""
    at = int(time.time() * 1000) + 400
    new = NewStream(content_type="text/plain", expires="soon", expires_at=at, data=b"x")
    assert (await made(streams, key, new)).view.expires == "soon"
    assert not (await made(streams, key, new)).is_new
    await trio.sleep(0.2)
    assert await text_of(streams, key) == b"x"
    await trio.sleep(0.3)
    assert reason(await streams.read(key, START)) is StreamRefusal.UNKNOWN


# --- forms ----------------------------------------------------------------------------


def test_offsets() -> None:
    """They have one form, and sort as text."""
    offset = Offset(12, "0000000000000034")
    assert str(offset) == "0000000000000012_0000000000000034"
    assert parse_offset(str(offset)) == offset
    assert parse_offset("0" * 16 + "_" + "0" * 16) == START
    for text in ("", "-1", "now", str(offset) + "\n", "1_2", "\u0661" * 16 + "_" * 17):
        assert parse_offset(text) is None


def test_kinds() -> None:
    """Parameters and letters do not count."""
    assert kind_of(" Application/JSON ; charset=utf-8") == "application/json"
