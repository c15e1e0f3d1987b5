"""Streams in this process; they do what those in Redis do.

More than 500 lines in one module, since all methods share one table: those of a store,
and the parts of which forks are made.
"""

from __future__ import annotations

import math
import time
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence

import trio

from ._budget import Budget
from ._stream_forks import create_fork, release_up, sweep
from ._stream_rules import refuse_append
from ._streams_base import (
    ENTRY_COST,
    START,
    Held,
    NewAppend,
    NewStream,
    Offset,
    Parent,
    Producer,
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

__all__ = ["MemoryStreams"]

# What Python keeps for a stream and a fork, roughly, besides their texts.
_STREAM_COST = 2048
_FORK_COST = 256
# Seconds for which a copy is kept whose fork is not made.
_STAGED_FOR = 60.0
# Seconds between two looks for what has ended.
_SWEEP_PAUSE = 5.0


class _Stream:
    """One stream, or what is left of a deleted one that has forks."""

    __slots__ = (
        "base",
        "closed",
        "closing",
        "deadline",
        "deleted",
        "entries",
        "fork",
        "forks",
        "id",
        "new",
        "producers",
        "seq",
        "size",
        "tail",
    )

    def __init__(self, new: NewStream, stream_id: str, base: Offset) -> None:
        self.new = new
        self.id = stream_id
        self.base = self.tail = base
        self.entries: list[StreamEntry] = []
        self.size = 0
        self.closed = new.closed
        self.closing: Producer | None = None
        self.seq: bytes | None = None
        self.producers: dict[str, tuple[int, int]] = {}
        # The source, and the paths of the forks by their ids.
        self.fork: Parent | None = None
        self.forks: dict[str, str] = {}
        self.deleted = False
        self.deadline = math.inf

    @property
    def kind(self) -> str:
        return kind_of(self.new.content_type)

    @property
    def view(self) -> StreamView:
        return StreamView(
            id=self.id,
            content_type=self.new.content_type,
            tail=self.tail,
            closed=self.closed,
            ttl=self.new.ttl,
            expires=self.new.expires,
        )

    def touch(self, now: float) -> None:
        if self.new.ttl is not None:
            self.deadline = now + self.new.ttl
        elif self.new.expires_at is not None:
            self.deadline = self.new.expires_at / 1000

    def add(self, data: bytes) -> None:
        self.tail = Offset(self.tail.number + 1, new_stream_tag())
        self.entries.append(StreamEntry(self.tail, data))
        self.size += ENTRY_COST + len(data)

    def resolve(self, after: Offset) -> Offset | None:
        """Return an offset of this stream; None if it has not got this one."""
        if after == START:
            return self.base
        if after in (self.base, self.tail):
            return after
        place = self._place(after) - 1
        known = place >= 0 and self.entries[place].offset == after
        return after if known else None

    def after(self, offset: Offset, most_bytes: int) -> Sequence[StreamEntry]:
        first = last = self._place(offset)
        size = 0
        while last < len(self.entries) and size < most_bytes:
            size += len(self.entries[last].data)
            last += 1
        return self.entries[first:last]

    def _place(self, offset: Offset) -> int:
        return bisect_right(self.entries, offset.number, key=_number)


class MemoryStreams:
    """Keep streams in memory, bounded; for development, tests and one worker."""

    def __init__(
        self,
        limits: StreamLimits | None = None,
        *,
        budget: Budget | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Start empty.

        Args:
            limits: How much is kept.
            budget: Of the bytes of this process, shared with others.
            clock: Returns Unix seconds.
        """
        self._limits = limits or StreamLimits()
        self._budget = budget or Budget()
        self._clock = clock
        self._streams: dict[str, _Stream] = {}
        # What is copied for forks that are not there yet, with its end, by id.
        self._staged: dict[str, tuple[float, list[StreamEntry]]] = {}
        self._sweep_at = 0.0

    def __repr__(self) -> str:
        return f"<MemoryStreams: {len(self._streams)}>"

    async def create(self, path: str, new: NewStream) -> StreamCreated | Refused:
        """Make a stream; see `StreamStore.create`.

        Cancellation:
            Before it is made, or not at all; see `create_fork` for a fork.
        """
        if new.fork is not None:
            return await create_fork(self, path, new)
        await trio.lowlevel.checkpoint()
        found = self._find(path, new)
        if found is not None:
            return found
        base = Offset(int(self._clock() * 1e6), new_stream_tag())
        return self._make(path, _Stream(new, new_id(), base))

    async def append(self, path: str, new: NewAppend) -> StreamAppended | Refused:
        """Append, close, or both; see `StreamStore.append`.

        Cancellation:
            Before it is done, or not at all.
        """
        await trio.lowlevel.checkpoint()
        stream = self._living(path)
        if isinstance(stream, Refused):
            return stream
        known = None if new.producer is None else stream.producers.get(new.producer.id)
        outcome = refuse_append(
            new,
            kind=stream.kind,
            tail=stream.tail,
            closing=stream.closing,
            is_closed=stream.closed,
            seq=stream.seq,
            known=known,
        )
        if outcome is None:
            outcome = self._append(path, stream, new, is_known=known is not None)
        if isinstance(outcome, StreamAppended):
            stream.touch(self._clock())
        return outcome

    async def read(
        self, path: str, after: Where, *, touches: bool = True
    ) -> StreamPage | Refused:
        """Return a page; see `StreamStore.read`.

        Cancellation:
            Nothing is left behind.
        """
        await trio.lowlevel.checkpoint()
        stream = self._living(path)
        if isinstance(stream, Refused):
            return stream
        if touches:
            stream.touch(self._clock())
        start = stream.tail if after is None else stream.resolve(after)
        if start is None:
            return Refused(reason=StreamRefusal.LOST_OFFSET)
        entries = stream.after(start, self._limits.page_bytes)
        return StreamPage(stream.view, start, entries)

    async def look(self, path: str) -> StreamView | Refused:
        """Return a stream as it is; see `StreamStore.look`.

        Cancellation:
            Nothing is left behind.
        """
        await trio.lowlevel.checkpoint()
        stream = self._living(path)
        return stream if isinstance(stream, Refused) else stream.view

    async def delete(self, path: str) -> Refused | None:
        """Delete a stream; see `StreamStore.delete`.

        Cancellation:
            Before it is deleted, or not at all.
        """
        await trio.lowlevel.checkpoint()
        stream = self._living(path)
        if isinstance(stream, Refused):
            return stream
        if stream.forks:
            self._budget.free(stream.size)
            stream.size, stream.entries, stream.producers = 0, [], {}
            stream.deleted, stream.deadline = True, math.inf
            return None
        self._drop(path, stream)
        await release_up(self, stream.fork, stream.id)
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
        await trio.lowlevel.checkpoint()
        streams = map(self._at, keys)
        return ["" if s is None else f"{s.id}.{s.tail}.{s.closed}" for s in streams]

    # --- the parts of forks -------------------------------------------------------

    async def find(self, path: str, new: NewStream) -> StreamCreated | Refused | None:
        """See `StreamParts.find`.

        Cancellation:
            Nothing is left behind.
        """
        await trio.lowlevel.checkpoint()
        return self._find(path, new)

    async def hold(self, path: str, fork_id: str, new: NewStream) -> Held | Refused:
        """See `StreamParts.hold`.

        Cancellation:
            Before the source knows, or not at all.
        """
        await trio.lowlevel.checkpoint()
        assert new.fork is not None
        source = self._at(new.fork.path)
        if source is None:
            return Refused(reason=StreamRefusal.SOURCE_UNKNOWN)
        if source.deleted:
            return Refused(reason=StreamRefusal.SOURCE_DELETED)
        if new.content_type and kind_of(new.content_type) != source.kind:
            return Refused(reason=StreamRefusal.WRONG_TYPE)
        offset = new.fork.offset
        point = source.tail if offset is None else source.resolve(offset)
        if point is None:
            return Refused(reason=StreamRefusal.FORK_OFFSET)
        if len(source.forks) >= self._limits.max_forks:
            return Refused(reason=StreamRefusal.TOO_MANY_FORKS)
        self._budget.take(_FORK_COST + len(path))
        source.forks[fork_id] = path
        return Held(
            id=source.id,
            content_type=source.new.content_type,
            ttl=source.new.ttl,
            expires=source.new.expires,
            expires_at=source.new.expires_at,
            base=source.base,
            point=point,
        )

    async def copy(
        self, parent: Parent, after: Offset, until: Offset | None
    ) -> Sequence[StreamEntry] | None:
        """See `StreamParts.copy`.

        Cancellation:
            Nothing is left behind.
        """
        await trio.lowlevel.checkpoint()
        source = self._living(parent.path)
        if isinstance(source, Refused) or source.id != parent.id:
            return None
        most = math.inf if until is None else until.number
        entries = source.after(after, self._limits.page_bytes)
        return [entry for entry in entries if entry.offset.number <= most]

    async def stage(
        self, path: str, fork_id: str, entries: Sequence[StreamEntry]
    ) -> None:
        """See `StreamParts.stage`.

        Cancellation:
            Before they are added, or not at all.
        """
        await trio.lowlevel.checkpoint()
        self._take(_size(entries))
        _, staged = self._staged.pop(fork_id, (0.0, []))
        self._staged[fork_id] = (self._clock() + _STAGED_FOR, staged)
        staged += entries

    async def finish(
        self, path: str, new: NewStream, staged: Staged
    ) -> StreamCreated | Refused:
        """See `StreamParts.finish`.

        Cancellation:
            Before it is made, or not at all.
        """
        await trio.lowlevel.checkpoint()
        found = self._find(path, new)
        if found is not None:
            return found
        stream = _Stream(new, staged.id, staged.base)
        stream.fork = staged.parent
        _, entries = self._staged.get(staged.id, (0.0, []))
        if _size(entries) != staged.size:
            # It took longer than a copy is kept.
            return Refused(reason=StreamRefusal.SOURCE_DELETED)
        stream.entries, stream.tail, stream.size = entries, staged.tail, staged.size
        made = self._make(path, stream)
        if isinstance(made, StreamCreated):
            self._staged.pop(staged.id, None)
        return made

    async def discard(self, path: str, fork_id: str) -> None:
        """See `StreamParts.discard`.

        Cancellation:
            Before it is dropped, or not at all.
        """
        await trio.lowlevel.checkpoint()
        _, staged = self._staged.pop(fork_id, (0.0, []))
        self._budget.free(_size(staged))

    async def release(self, parent: Parent, fork_id: str) -> Parent | None:
        """See `StreamParts.release`.

        Cancellation:
            Before the source forgets, or not at all.
        """
        await trio.lowlevel.checkpoint()
        source = self._at(parent.path)
        if source is None or source.id != parent.id:
            return None
        if (path := source.forks.pop(fork_id, None)) is not None:
            self._budget.free(_FORK_COST + len(path))
        if not source.deleted or source.forks:
            return None
        self._drop(parent.path, source)
        return source.fork

    async def forks_of(self, path: str) -> tuple[str, Mapping[str, str]] | None:
        """See `StreamParts.forks_of`.

        Cancellation:
            Nothing is left behind.
        """
        await trio.lowlevel.checkpoint()
        stream = self._at(path)
        if stream is None or not stream.deleted:
            return None
        return stream.id, dict(stream.forks)

    async def id_at(self, path: str) -> str | None:
        """See `StreamParts.id_at`.

        Cancellation:
            Nothing is left behind.
        """
        await trio.lowlevel.checkpoint()
        stream = self._at(path)
        return None if stream is None else stream.id

    # --- what none of these awaits in ---------------------------------------------

    def _at(self, path: str) -> _Stream | None:
        """Return what is at a path, unless its time is over."""
        stream = self._streams.get(path)
        if stream is not None and stream.deadline <= self._clock():
            self._drop(path, stream)
            return None
        return stream

    def _living(self, path: str) -> _Stream | Refused:
        stream = self._at(path)
        if stream is None:
            return Refused(reason=StreamRefusal.UNKNOWN)
        return Refused(reason=StreamRefusal.DELETED) if stream.deleted else stream

    def _find(self, path: str, new: NewStream) -> StreamCreated | Refused | None:
        stream = self._at(path)
        if stream is None:
            return None
        if stream.deleted:
            return Refused(reason=StreamRefusal.DELETED)
        if not _is_same(stream, new):
            return Refused(reason=StreamRefusal.CONFLICT)
        return StreamCreated(stream.view, is_new=False)

    def _make(self, path: str, stream: _Stream) -> StreamCreated | Refused:
        data = stream.new.data
        size = ENTRY_COST + len(data) if data else 0
        if stream.size + size > self._limits.max_bytes:
            return Refused(reason=StreamRefusal.STREAM_FULL)
        self._take(_STREAM_COST + len(path) + size)
        if data:
            stream.add(data)
        stream.touch(self._clock())
        self._streams[path] = stream
        return StreamCreated(stream.view, is_new=True)

    def _append(
        self, path: str, stream: _Stream, new: NewAppend, *, is_known: bool
    ) -> StreamAppended | Refused:
        size = ENTRY_COST + len(new.data) if new.data else 0
        if new.producer is not None and not is_known:
            size += ENTRY_COST + len(new.producer.id)
        if size and stream.size + size > self._limits.max_bytes:
            return Refused(reason=StreamRefusal.STREAM_FULL)
        self._take(size)
        stream.size += size
        if new.data:
            stream.size -= ENTRY_COST + len(new.data)
            stream.add(new.data)
        if new.producer is not None:
            stream.producers[new.producer.id] = new.producer[1:]
        if new.seq is not None:
            stream.seq = new.seq
        if new.closes:
            stream.closed, stream.closing = True, new.producer
        seq = None if new.producer is None else new.producer.seq
        return StreamAppended(tail=stream.tail, closed=stream.closed, seq=seq)

    def _take(self, size: int) -> None:
        now = self._clock()
        if now >= self._sweep_at or not self._budget.has(size):
            self._forget_ended(now)
        self._budget.take(size)

    def _forget_ended(self, now: float) -> None:
        self._sweep_at = now + _SWEEP_PAUSE
        for path in list(self._streams):
            self._at(path)
        for fork_id in [
            fork_id for fork_id, (end, _) in self._staged.items() if end <= now
        ]:
            _, entries = self._staged.pop(fork_id)
            self._budget.free(_size(entries))

    def _drop(self, path: str, stream: _Stream) -> None:
        del self._streams[path]
        forks = sum(_FORK_COST + len(fork) for fork in stream.forks.values())
        self._budget.free(_STREAM_COST + len(path) + stream.size + forks)


def _is_same(stream: _Stream, new: NewStream) -> bool:
    """Return whether a stream has the configuration that is asked for."""
    made = stream.new
    same_type = not new.content_type or kind_of(new.content_type) == stream.kind
    same_end = (made.ttl, made.expires_at) == (new.ttl, new.expires_at)
    inherits = new.fork is not None and (new.ttl, new.expires_at) == (None, None)
    return (
        same_type
        and (same_end or inherits)
        and stream.closed == new.closed
        and made.fork == new.fork
    )


def _size(entries: Sequence[StreamEntry]) -> int:
    return sum(ENTRY_COST + len(entry.data) for entry in entries)


def _number(entry: StreamEntry) -> int:
    return entry.offset.number
