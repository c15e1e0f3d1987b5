"""Forks, over every store of streams: what they have, and whose path they keep."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator

import pytest
import trio
from tests.triopoll.store.test_streams_base import (
    TEXT,
    UNKNOWN_OFFSET,
    made,
    page_of,
    put,
    reason,
    text_of,
)

from triopoll.store import (
    START,
    ForkPoint,
    MemoryStreams,
    NewAppend,
    NewStream,
    Offset,
    StoreUnreachable,
    StreamCreated,
    StreamEntry,
    StreamLimits,
    StreamRefusal,
    StreamStore,
    open_stores,
)


@pytest.fixture
async def streams(store_url: str) -> AsyncIterator[StreamStore]:
    limits = StreamLimits(max_bytes=4096, page_bytes=100, max_forks=3)
    async with open_stores(store_url, limit=5, stream_limits=limits) as stores:
        yield stores.streams


def fork(
    source: str,
    offset: Offset | None = None,
    sub_offset: int = 0,
    content_type: str = "",
    data: bytes = b"",
    ttl: int | None = None,
) -> NewStream:
    point = ForkPoint(source, offset, sub_offset)
    return NewStream(content_type=content_type, fork=point, data=data, ttl=ttl)


@pytest.fixture
async def source(streams: StreamStore, key: str) -> str:
    """A source of several pages."""
    await made(streams, key)
    for n in range(9):
        await put(streams, key, b"%d" % n * 40)
    return key


ALL = b"".join(b"%d" % n * 40 for n in range(9))


async def test_a_copy(streams: StreamStore, source: str) -> None:
    """It has what the source has, at the same offsets, and goes its own way."""
    paths = [f"fork-{uuid.uuid4().hex}" for _ in range(3)]
    tail = (await page_of(streams, source, None)).end
    for path in paths:
        created = await made(streams, path, fork(source))
        assert created.view.tail == tail
        assert created.view.content_type == TEXT.content_type
    first = (await page_of(streams, source)).entries
    assert (await page_of(streams, paths[0])).entries == first
    own = await put(streams, paths[0], b"own")
    assert await put(streams, source, b"more") != own
    assert await text_of(streams, paths[0]) == ALL + b"own"
    assert await text_of(streams, source) == ALL + b"more"
    assert await text_of(streams, paths[1], tail) == b""
    lost = await streams.read(paths[1], own)
    assert reason(lost) is StreamRefusal.LOST_OFFSET
    too_many = await streams.create(paths[0] + "x", fork(source))
    assert reason(too_many) is StreamRefusal.TOO_MANY_FORKS


async def test_a_part(streams: StreamStore, source: str) -> None:
    """Up to an offset, and some of the next append; a body comes behind it."""
    page = await page_of(streams, source)
    third = page.entries[2].offset
    for path, new, expected in (
        ("a", fork(source, third), ALL[:120]),
        ("b", fork(source, START, data=b"body"), b"body"),
        ("c", fork(source, third, 7, data=b"!"), ALL[:127] + b"!"),
    ):
        await made(streams, source + path, new)
        assert await text_of(streams, source + path) == expected
        again = await streams.create(source + path, new)
        assert isinstance(again, StreamCreated)
        assert not again.is_new
    other = await streams.create(source + "c", fork(source, third, 8))
    assert reason(other) is StreamRefusal.CONFLICT
    plain = await streams.create(source + "c", TEXT)
    assert reason(plain) is StreamRefusal.CONFLICT


async def test_a_part_of_json(streams: StreamStore, key: str) -> None:
    """Whole messages are counted, and their text stays as it was."""
    json = NewStream(content_type="application/json", data=b'{"a": 1.0},[2, 3],"x"')
    await made(streams, key, json)
    await made(streams, key + "f", fork(key, START, 2))
    assert await text_of(streams, key + "f") == b'{"a": 1.0},[2, 3]'
    for count in (3, 4):
        outcome = await streams.create(f"{key}{count}", fork(key, START, count))
        assert isinstance(outcome, StreamCreated) is (count == 3)


async def test_refused(streams: StreamStore, source: str, key: str) -> None:
    """A fork that is refused leaves no trace in its source."""
    tail = (await page_of(streams, source, None)).end
    for new, expected in (
        (fork(source + "?"), StreamRefusal.SOURCE_UNKNOWN),
        (fork(source, UNKNOWN_OFFSET), StreamRefusal.FORK_OFFSET),
        (fork(source, tail, 1), StreamRefusal.FORK_OFFSET),
        (fork(source, START, 41), StreamRefusal.FORK_OFFSET),
        (fork(source, content_type="a/b"), StreamRefusal.WRONG_TYPE),
        (fork(source, data=b"x" * 4000), StreamRefusal.STREAM_FULL),
    ):
        assert reason(await streams.create(key + "f", new)) is expected
        assert reason(await streams.look(key + "f")) is StreamRefusal.UNKNOWN
    assert await streams.delete(source) is None
    assert reason(await streams.look(source)) is StreamRefusal.UNKNOWN


async def test_a_deleted_source(streams: StreamStore, source: str) -> None:
    """Its path is kept until its last fork has gone, and up the chain."""
    await made(streams, source + "1", fork(source))
    await made(streams, source + "2", fork(source + "1"))
    assert await streams.delete(source) is None
    assert await streams.delete(source + "1") is None
    for path in (source, source + "1"):
        assert reason(await streams.look(path)) is StreamRefusal.DELETED
        assert reason(await streams.read(path, START)) is StreamRefusal.DELETED
        assert reason(await streams.delete(path)) is StreamRefusal.DELETED
        append = NewAppend(kind="text/plain", data=b"x")
        assert reason(await streams.append(path, append)) is StreamRefusal.DELETED
        assert reason(await streams.create(path, TEXT)) is StreamRefusal.DELETED
        again = await streams.create(source + "3", fork(path))
        assert reason(again) is StreamRefusal.SOURCE_DELETED
        assert not await streams.sweep(path)
    assert await text_of(streams, source + "2") == ALL
    assert await streams.delete(source + "2") is None
    for path in (source, source + "1", source + "2"):
        assert reason(await streams.look(path)) is StreamRefusal.UNKNOWN
        assert await streams.sweep(path)


@pytest.mark.slow
async def test_forks_whose_time_is_over(streams: StreamStore, source: str) -> None:
    """They keep no path; it is free once it is asked for."""
    await made(streams, source + "1", fork(source))
    await made(streams, source + "2", fork(source + "1", ttl=1))
    await made(streams, source + "3", fork(source, ttl=1))
    await streams.delete(source)
    await streams.delete(source + "1")
    assert not await streams.sweep(source)
    await trio.sleep(1.1)
    assert await streams.sweep(source)
    for path in (source, source + "1"):
        assert reason(await streams.look(path)) is StreamRefusal.UNKNOWN


async def test_what_is_inherited(streams: StreamStore, key: str) -> None:
    """The time to live, unless the fork has one; it is open if the source is closed."""
    old = NewStream(content_type="a/b", ttl=60, closed=True, data=b"x")
    await made(streams, key, old)
    view = (await made(streams, key + "f", fork(key))).view
    assert (view.ttl, view.closed) == (60, False)
    assert (await made(streams, key + "g", fork(key, ttl=5))).view.ttl == 5
    assert not (await made(streams, key + "f", fork(key))).is_new


class Scene(MemoryStreams):
    """A store in which something happens in the middle of a fork."""

    def __init__(self) -> None:
        super().__init__(StreamLimits(page_bytes=1))
        self.staged = 0
        self.then = "nothing"

    async def stage(self, path: str, fork_id: str, entries: list[StreamEntry]) -> None:  # type: ignore[override]
        await super().stage(path, fork_id, entries)
        self.staged += 1
        if self.staged == 2:
            match self.then:
                case "delete":
                    await self.delete("source")
                case "take":
                    await self.create("fork", TEXT)
                case "hang":
                    await trio.sleep_forever()
                case "fail":
                    raise StoreUnreachable("gone")


@pytest.fixture
async def scene() -> Scene:
    scene = Scene()
    await made(scene, "source")
    for n in range(3):
        await put(scene, "source", b"%d" % n)
    return scene


async def test_a_source_that_is_deleted_meanwhile(scene: Scene) -> None:
    """The fork is refused, and both paths are free."""
    scene.then = "delete"
    outcome = await scene.create("fork", fork("source"))
    assert reason(outcome) is StreamRefusal.SOURCE_DELETED
    for path in ("fork", "source"):
        assert reason(await scene.look(path)) is StreamRefusal.UNKNOWN
    assert scene._budget.taken == 0
    assert not scene._staged


async def test_a_source_that_is_deleted_before_the_part(scene: Scene) -> None:
    """The same where only a part of an append is copied."""
    scene.then = "delete"
    second = (await scene.read("source", START)).entries[0].offset  # type: ignore[union-attr]
    await put(scene, "source", b"x")
    third = (await scene.read("source", second)).entries[0].offset  # type: ignore[union-attr]
    outcome = await scene.create("fork", fork("source", third, 1))
    assert reason(outcome) is StreamRefusal.SOURCE_DELETED


async def test_a_path_that_is_taken_meanwhile(scene: Scene) -> None:
    """What is there stays, and the source forgets the fork."""
    scene.then = "take"
    outcome = await scene.create("fork", fork("source"))
    assert reason(outcome) is StreamRefusal.CONFLICT
    assert await text_of(scene, "fork") == b""
    assert await scene.delete("source") is None
    assert reason(await scene.look("source")) is StreamRefusal.UNKNOWN


async def test_cancelled_in_the_middle(scene: Scene) -> None:
    """The copy is dropped, and the source forgets the fork."""
    scene.then = "hang"
    with trio.move_on_after(0.05):
        await scene.create("fork", fork("source"))
    assert not scene._staged
    assert await scene.delete("source") is None
    assert reason(await scene.look("source")) is StreamRefusal.UNKNOWN


async def test_a_store_that_fails_in_the_middle(scene: Scene) -> None:
    """Its error is the caller's, also if taking back fails as well."""
    scene.then = "fail"

    async def fail(path: str, fork_id: str) -> None:
        raise StoreUnreachable("still gone")

    scene.discard = fail  # type: ignore[method-assign]
    with pytest.raises(StoreUnreachable, match="gone"):
        await scene.create("fork", fork("source"))
