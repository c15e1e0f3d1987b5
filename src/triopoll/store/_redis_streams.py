"""Streams in Redis: each operation is one script (`_stream_scripts`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ._heads import read_heads
from ._names import Layout, Names
from ._pipeliner import Pipeliner
from ._stream_forks import create_fork, release_up, sweep
from ._stream_scripts import (
    APPEND_STREAM,
    CREATE_STREAM,
    DELETE_STREAM,
    HOLD_SOURCE,
    LIST_FORKS,
    READ_STREAM,
    RELEASE_SOURCE,
    STAGE_FORK,
    STREAM_HEADS,
)
from ._streams_base import (
    ENTRY_COST,
    Held,
    NewAppend,
    NewStream,
    Offset,
    Parent,
    Refused,
    Staged,
    StreamAppended,
    StreamCreated,
    StreamEntry,
    StreamLimits,
    StreamPage,
    StreamRefusal,
    StreamView,
    Where,
    kind_of,
    new_id,
    new_stream_tag,
)

__all__ = ["RedisStreams"]

# Milliseconds for which a copy is kept whose fork is not made.
_STAGED_FOR = 60_000
_VIEW = ("i", "y", "n", "g", "c", "t", "x")
# What the scripts return of a producer that is refused.
_WITH_EPOCH, _WITH_EXPECTED = StreamRefusal.STALE_EPOCH, StreamRefusal.SEQ_GAP


class RedisStreams:
    """Keep streams in Redis, where all workers read them."""

    def __init__(
        self, pipeliner: Pipeliner, layout: Layout, limits: StreamLimits
    ) -> None:
        """Use a running pipeliner.

        Args:
            pipeliner: Sends the commands.
            layout: Says what the keys are called.
            limits: How much is kept.
        """
        self._pipeliner = pipeliner
        self._layout = layout
        self._limits = limits

    def __repr__(self) -> str:
        return f"<RedisStreams: {self._layout.control!r}, {self._pipeliner!r}>"

    async def create(self, path: str, new: NewStream) -> StreamCreated | Refused:
        """Make a stream; see `StreamStore.create`.

        Cancellation:
            It may be made; see `create_fork` for a fork.
        """
        if new.fork is not None:
            return await create_fork(self, path, new)
        made = await self._create(path, new, None)
        assert made is not None
        return made

    async def append(self, path: str, new: NewAppend) -> StreamAppended | Refused:
        """Append, close, or both; see `StreamStore.append`.

        Cancellation:
            It may be done.
        """
        names = self._layout.of_log(path)
        producer = new.producer or ("", "", "")
        command = APPEND_STREAM(
            [names.stream(path)],
            names.stream_parts,
            new.data,
            new_stream_tag(),
            new.kind,
            b"" if new.seq is None else b"=" + new.seq,
            _flag(new.closes),
            *producer,
            self._limits.max_bytes,
            ENTRY_COST,
        )
        word, *rest = await self._pipeliner.call(*command)
        return _appended(word, rest)

    async def read(
        self, path: str, after: Where, *, touches: bool = True
    ) -> StreamPage | Refused:
        """Return a page; see `StreamStore.read`.

        Cancellation:
            Nothing is left behind.
        """
        return await self._read(path, after, touches=touches)

    async def look(self, path: str) -> StreamView | Refused:
        """Return a stream as it is; see `StreamStore.look`.

        Cancellation:
            Nothing is left behind.
        """
        name = self._layout.of_log(path).stream(path)
        *view, deleted = await self._pipeliner.call("HMGET", name, *_VIEW, "d")
        if view[0] is None:
            return Refused(reason=StreamRefusal.UNKNOWN)
        return Refused(reason=StreamRefusal.DELETED) if deleted else _view(view)

    async def delete(self, path: str) -> Refused | None:
        """Delete a stream; see `StreamStore.delete`.

        Cancellation:
            It may be deleted.
        """
        names = self._layout.of_log(path)
        command = DELETE_STREAM([names.stream(path)], names.stream_parts)
        word, *rest = await self._pipeliner.call(*command)
        if word != b"done":
            return Refused(reason=StreamRefusal(word.decode()))
        stream_id, *parent = [part.decode() for part in rest]
        await release_up(self, Parent(*parent) if parent[0] else None, stream_id)
        return None

    async def sweep(self, path: str) -> bool:
        """Free the path of a deleted stream; see `StreamStore.sweep`.

        Cancellation:
            It may be free.
        """
        return await sweep(self, path)

    async def heads(self, keys: Sequence[str]) -> list[str]:
        """Return a mark for each path; see `StreamStore.heads`.

        Cancellation:
            Nothing is left behind.
        """
        return await read_heads(
            self._pipeliner,
            self._layout,
            keys,
            lambda names, some: STREAM_HEADS([names.stream(key) for key in some]),
        )

    # --- the parts of forks -------------------------------------------------------

    async def find(self, path: str, new: NewStream) -> StreamCreated | Refused | None:
        """See `StreamParts.find`.

        Cancellation:
            Nothing is left behind.
        """
        return await self._create(path, new, None, only_find=True)

    async def hold(self, path: str, fork_id: str, new: NewStream) -> Held | Refused:
        """See `StreamParts.hold`.

        Cancellation:
            The source may know.
        """
        assert new.fork is not None
        names = self._layout.of_log(new.fork.path)
        offset = new.fork.offset or ("", "")
        command = HOLD_SOURCE(
            [names.stream(new.fork.path)],
            names.stream_parts,
            fork_id,
            path,
            kind_of(new.content_type),
            *offset,
            self._limits.max_forks,
        )
        word, *rest = await self._pipeliner.call(*command)
        if word != b"held":
            return Refused(reason=StreamRefusal(word.decode()))
        source, content_type, ttl, ends, ends_at, *places = [
            part.decode() for part in rest
        ]
        return Held(
            id=source,
            content_type=content_type,
            ttl=_number(ttl),
            expires=ends,
            expires_at=_number(ends_at),
            base=Offset(int(places[0]), places[1]),
            point=Offset(int(places[2]), places[3]),
        )

    async def copy(
        self, parent: Parent, after: Offset, until: Offset | None
    ) -> Sequence[StreamEntry] | None:
        """See `StreamParts.copy`.

        Cancellation:
            Nothing is left behind.
        """
        last = "" if until is None else str(until.number)
        only = (parent.id, last)
        page = await self._read(parent.path, after, touches=False, only=only)
        return None if isinstance(page, Refused) else page.entries

    async def stage(
        self, path: str, fork_id: str, entries: Sequence[StreamEntry]
    ) -> None:
        """See `StreamParts.stage`.

        Cancellation:
            They may be added.
        """
        args: list[str | bytes | int] = []
        for entry in entries:
            args += *entry.offset, entry.data
        name = self._layout.of_log(path).stream_entries(fork_id)
        await self._pipeliner.call(*STAGE_FORK([name], _STAGED_FOR, *args))

    async def finish(
        self, path: str, new: NewStream, staged: Staged
    ) -> StreamCreated | Refused:
        """See `StreamParts.finish`.

        Cancellation:
            It may be made.
        """
        made = await self._create(path, new, staged)
        assert made is not None
        return made

    async def discard(self, path: str, fork_id: str) -> None:
        """See `StreamParts.discard`.

        Cancellation:
            It may be dropped.
        """
        name = self._layout.of_log(path).stream_entries(fork_id)
        await self._pipeliner.call("UNLINK", name)

    async def release(self, parent: Parent, fork_id: str) -> Parent | None:
        """See `StreamParts.release`.

        Cancellation:
            The source may have forgotten it.
        """
        names = self._layout.of_log(parent.path)
        key = names.stream(parent.path)
        command = RELEASE_SOURCE([key], names.stream_parts, parent.id, fork_id)
        above = [part.decode() for part in await self._pipeliner.call(*command)]
        return Parent(*above) if above and above[0] else None

    async def forks_of(self, path: str) -> tuple[str, Mapping[str, str]] | None:
        """See `StreamParts.forks_of`.

        Cancellation:
            Nothing is left behind.
        """
        names = self._layout.of_log(path)
        command = LIST_FORKS([names.stream(path)], names.stream_parts)
        found = [part.decode() for part in await self._pipeliner.call(*command)]
        if not found:
            return None
        return found[0], dict(zip(found[1::2], found[2::2], strict=True))

    async def id_at(self, path: str) -> str | None:
        """See `StreamParts.id_at`.

        Cancellation:
            Nothing is left behind.
        """
        name = self._layout.of_log(path).stream(path)
        found: bytes | None = await self._pipeliner.call("HGET", name, "i")
        return None if found is None else found.decode()

    # --- what several of these do -------------------------------------------------

    async def _create(
        self,
        path: str,
        new: NewStream,
        staged: Staged | None,
        *,
        only_find: bool = False,
    ) -> StreamCreated | Refused | None:
        names = self._layout.of_log(path)
        command = CREATE_STREAM(
            [names.stream(path)],
            names.stream_parts,
            _flag(only_find),
            new_id() if staged is None else staged.id,
            new.content_type,
            kind_of(new.content_type),
            _text(new.ttl),
            new.expires,
            _text(new.expires_at),
            _flag(new.closed),
            *_places(staged),
            new.data,
            new_stream_tag(),
            self._limits.max_bytes,
            ENTRY_COST,
            *_source(new, staged),
        )
        word, *view = await self._pipeliner.call(*command)
        if word == b"free":
            return None
        if not view:
            return Refused(reason=StreamRefusal(word.decode()))
        return StreamCreated(_view(view), is_new=word == b"made")

    async def _read(
        self,
        path: str,
        after: Where,
        *,
        touches: bool,
        only: tuple[str, str] = ("", ""),
    ) -> StreamPage | Refused:
        names: Names = self._layout.of_log(path)
        number, tag = after or ("", "")
        command = READ_STREAM(
            [names.stream(path)],
            names.stream_parts,
            number,
            tag,
            self._limits.page_bytes,
            _flag(touches),
            *only,
        )
        word, *rest = await self._pipeliner.call(*command)
        if word != b"page":
            return Refused(reason=StreamRefusal(word.decode()))
        places = rest[len(_VIEW) :]
        entries = [
            StreamEntry(Offset(int(number), tag.decode()), data)
            for number, tag, data in zip(*[iter(places[2:])] * 3, strict=True)
        ]
        start = Offset(int(places[0]), places[1].decode())
        return StreamPage(_view(rest[: len(_VIEW)]), start, entries)


def _places(staged: Staged | None) -> tuple[str | int, ...]:
    """Return begin, end and size of a new stream, as the script takes them."""
    if staged is None:
        return ("", new_stream_tag(), "", "", 0)
    return (*staged.base, *staged.tail, staged.size)


def _source(new: NewStream, staged: Staged | None) -> tuple[str | int, ...]:
    if new.fork is None:
        return ("", "", "", "")
    offset = "" if new.fork.offset is None else str(new.fork.offset)
    source_id = "" if staged is None else staged.parent.id
    return (new.fork.path, source_id, offset, new.fork.sub_offset)


def _view(parts: Sequence[Any]) -> StreamView:
    stream_id, content_type, number, tag, closed, ttl, ends = [
        part.decode() for part in parts
    ]
    return StreamView(
        id=stream_id,
        content_type=content_type,
        tail=Offset(int(number), tag),
        closed=closed == "1",
        ttl=_number(ttl),
        expires=ends,
    )


def _appended(word: bytes, rest: Sequence[bytes]) -> StreamAppended | Refused:
    if not rest:
        return Refused(reason=StreamRefusal(word.decode()))
    number, tag, closed, extra = [part.decode() for part in rest]
    tail, given = Offset(int(number), tag), _number(extra)
    if word in (b"done", b"duplicate"):
        return StreamAppended(
            tail=tail,
            closed=closed == "1",
            duplicate=word == b"duplicate",
            seq=given,
        )
    reason = StreamRefusal(word.decode())
    return Refused(
        reason=reason,
        tail=tail if reason is StreamRefusal.CLOSED else None,
        epoch=given if reason is _WITH_EPOCH else None,
        expected=given if reason is _WITH_EXPECTED else None,
    )


def _number(text: str) -> int | None:
    return int(text) if text else None


def _text(number: int | None) -> str:
    return "" if number is None else str(number)


def _flag(is_set: bool) -> str:
    return "1" if is_set else ""
