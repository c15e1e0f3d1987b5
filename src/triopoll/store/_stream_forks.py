"""Forks of streams: a copy at creation, made in steps that each lie in one place.

The source and its fork may lie on two nodes of a Redis Cluster, so no step touches
both:

1. the source notes the id and the path of the fork (`hold`), so that from then on its
   path is kept when it is deleted;
2. pages of the source are copied to where the fork will be (`copy`, `stage`). Entries
   never change, and a source that is deleted meanwhile refuses the next page;
3. the fork is made of the copy, unless its path has been taken meanwhile (`finish`).

What fails after the first step is taken back. A process that dies in between leaves a
copy, which ends by itself, and a note in the source. Such a note, and that of a fork
whose time is over, counts only once the source is deleted: then whoever asks for the
path looks whether the forks are still there (`sweep`).
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import trio
from msgspec import Raw

from ._base import StoreError
from ._streams_base import (
    ENTRY_COST,
    Held,
    NewStream,
    Offset,
    Parent,
    Refused,
    Staged,
    StreamCreated,
    StreamEntry,
    StreamParts,
    StreamRefusal,
    kind_of,
    new_id,
    new_stream_tag,
)

__all__ = ["create_fork", "release_up", "sweep"]

# Seconds that taking back may take when the caller is cancelled.
_GRACE = 2.0
# Forks of forks of deleted streams that one question looks through.
_MAX_DEPTH = 32

_JSON = "application/json"
_VALUES = msgspec.json.Decoder(list[Raw])


async def create_fork(
    parts: StreamParts, path: str, new: NewStream
) -> StreamCreated | Refused:
    """Make a fork; see `StreamStore.create`.

    Cancellation:
        It may be made, whole; else its copy is dropped within a grace time.
    """
    found = await parts.find(path, new)
    if found is not None:
        return found
    assert new.fork is not None
    fork_id = new_id()
    is_made = False
    held: Held | Refused | None = None
    try:
        held = await parts.hold(path, fork_id, new)
        if isinstance(held, Refused):
            return held
        parent = Parent(new.fork.path, held.id)
        staged = await _stage(parts, path, fork_id, parent, held, new)
        if isinstance(staged, Refused):
            return staged
        made = await parts.finish(path, _inherit(new, held), staged)
        is_made = isinstance(made, StreamCreated) and made.is_new
        return made
    finally:
        if isinstance(held, Held) and not is_made:
            await _take_back(parts, path, fork_id, Parent(new.fork.path, held.id))


async def release_up(parts: StreamParts, parent: Parent | None, fork_id: str) -> None:
    """Let the sources of a fork that is gone forget it, from one to the next.

    Cancellation:
        The rest of them forget it when they are asked for.
    """
    while parent is not None:
        released = parent
        parent = await parts.release(released, fork_id)
        fork_id = released.id


async def sweep(parts: StreamParts, path: str, depth: int = _MAX_DEPTH) -> bool:
    """Free the path of a deleted stream; see `StreamStore.sweep`.

    Cancellation:
        It may be free.
    """
    found = await parts.forks_of(path)
    if found is None:
        return True
    source_id, forks = found
    for fork, fork_path in forks.items():
        if await parts.id_at(fork_path) == fork and not (
            # A fork that is deleted itself is kept by its own forks.
            depth and await sweep_deleted(parts, fork_path, depth - 1)
        ):
            return False
        await release_up(parts, Parent(path, source_id), fork)
    return True


async def sweep_deleted(parts: StreamParts, path: str, depth: int) -> bool:
    """Sweep a path whose stream is deleted; leave one that lives."""
    return await parts.forks_of(path) is not None and await sweep(parts, path, depth)


async def _take_back(
    parts: StreamParts, path: str, fork_id: str, parent: Parent
) -> None:
    with trio.move_on_after(_GRACE, shield=True):
        try:
            await parts.discard(path, fork_id)
            await release_up(parts, parent, fork_id)
        except StoreError:
            pass  # the copy ends by itself, and the note counts for nothing


async def _stage(
    parts: StreamParts,
    path: str,
    fork_id: str,
    parent: Parent,
    held: Held,
    new: NewStream,
) -> Staged | Refused:
    """Copy what the fork begins with."""
    assert new.fork is not None
    at, size = held.base, 0
    while at != held.point:
        page = await parts.copy(parent, at, held.point)
        if not page:
            return Refused(reason=StreamRefusal.SOURCE_DELETED)
        await parts.stage(path, fork_id, page)
        at = page[-1].offset
        size += sum(ENTRY_COST + len(entry.data) for entry in page)
    if new.fork.sub_offset:
        page = await parts.copy(parent, held.point, None)
        if page is None:
            return Refused(reason=StreamRefusal.SOURCE_DELETED)
        part = _cut(page[:1], new.fork.sub_offset, kind_of(held.content_type))
        if part is None:
            return Refused(reason=StreamRefusal.FORK_OFFSET)
        at = Offset(at.number + 1, new_stream_tag())
        await parts.stage(path, fork_id, [StreamEntry(at, part)])
        size += ENTRY_COST + len(part)
    return Staged(id=fork_id, base=held.base, tail=at, size=size, parent=parent)


def _cut(page: Sequence[StreamEntry], count: int, kind: str) -> bytes | None:
    """Return so much of an append, None if it has less."""
    if not page:
        return None
    data = page[0].data
    if kind != _JSON:
        return data[:count] if count <= len(data) else None
    values = _VALUES.decode(b"[%b]" % data)
    return b",".join(map(bytes, values[:count])) if count <= len(values) else None


def _inherit(new: NewStream, held: Held) -> NewStream:
    """Return the fork as it will be: what it does not say is as in its source."""
    has_end = new.ttl is not None or bool(new.expires)
    return NewStream(
        content_type=new.content_type or held.content_type,
        ttl=new.ttl if has_end else held.ttl,
        expires=new.expires if has_end else held.expires,
        expires_at=new.expires_at if has_end else held.expires_at,
        closed=new.closed,
        data=new.data,
        fork=new.fork,
    )
