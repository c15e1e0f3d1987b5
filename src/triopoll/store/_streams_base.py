"""What a store of Durable Streams does: bytes by path, appended in order, kept whole.

A stream is made explicitly, has a content type, and ends by being deleted or by its
time. Nothing of it is dropped before that: a store without room refuses an append.

An offset is `NUMBER_TAG`, each of 16 digits: the number of the last append that a
reader has, and the random tag of that append. Numbers begin at the time (in
microseconds) at which the first stream of a line of forks was made, so they sort as
text until the year 2286. The tag tells an append from another one that got the same
number: in a fork, in a stream that was made again at the same path, or in a Redis that
has lost its last writes. All zeros are the beginning of every stream.

A fork has a copy of what its source had, with the same offsets (`_stream_forks`).
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple, Protocol, TypeAlias

__all__ = [
    "ENTRY_COST",
    "START",
    "ForkPoint",
    "Held",
    "NewAppend",
    "NewStream",
    "Offset",
    "Parent",
    "Producer",
    "Refused",
    "Staged",
    "StreamAppended",
    "StreamCreated",
    "StreamEntry",
    "StreamLimits",
    "StreamPage",
    "StreamParts",
    "StreamRefusal",
    "StreamStore",
    "StreamView",
    "Where",
    "kind_of",
    "new_id",
    "new_stream_tag",
    "parse_offset",
]

_OFFSET = re.compile(r"([0-9]{16})_([0-9]{16})", re.ASCII)
_NO_TAG = "0" * 16
# Bytes that an append and a producer count beside their own, against the longest
# stream: about what Redis keeps for an entry.
ENTRY_COST = 64


class Offset(NamedTuple):
    """A place in a stream: behind the append with this number and tag."""

    number: int
    tag: str

    def __str__(self) -> str:
        return f"{self.number:016d}_{self.tag}"


START = Offset(0, _NO_TAG)


def parse_offset(text: str) -> Offset | None:
    """Return the offset that a text spells, None if it spells none."""
    match = _OFFSET.fullmatch(text)
    return None if match is None else Offset(int(match[1]), match[2])


def new_stream_tag() -> str:
    """Return a tag for one append; never that of `START`."""
    return f"{1 + secrets.randbelow(10**16 - 1):016d}"


def new_id() -> str:
    """Return a name for one life of a stream."""
    return secrets.token_hex(8)


def kind_of(content_type: str) -> str:
    """Return what types are compared by: without parameters, in lower case."""
    return content_type.partition(";")[0].strip().lower()


class StreamRefusal(Enum):
    """Why nothing was done; the value is the name for programs."""

    UNKNOWN = "not_found"
    DELETED = "deleted"
    CONFLICT = "conflict"
    CLOSED = "closed"
    WRONG_TYPE = "content_type"
    OLD_SEQ = "sequence"
    STALE_EPOCH = "stale_epoch"
    NEW_EPOCH = "epoch_start"
    SEQ_GAP = "sequence_gap"
    STREAM_FULL = "stream_full"
    LOST_OFFSET = "offset_gone"
    FORK_OFFSET = "fork_offset"
    SOURCE_UNKNOWN = "source_not_found"
    SOURCE_DELETED = "source_deleted"
    TOO_MANY_FORKS = "too_many_forks"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Why nothing was done, with what the client needs to know.

    Attributes:
        reason: Why.
        tail: The end of a stream that is closed.
        epoch: The producer's epoch that is known.
        expected: The sequence number that would have been accepted.
    """

    reason: StreamRefusal
    tail: Offset | None = None
    epoch: int | None = None
    expected: int | None = None


class ForkPoint(NamedTuple):
    """Where a fork begins, as its creator has said it.

    Attributes:
        path: Of the source.
        offset: How much of the source it has; None: all.
        sub_offset: How much more of the next append: bytes, or JSON messages.
    """

    path: str
    offset: Offset | None
    sub_offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NewStream:
    """A stream to make.

    Attributes:
        content_type: As it is given; "" for a fork that takes that of its source.
        ttl: Seconds after the last read or write for which it is kept.
        expires: When it ends, as text; "" for never.
        expires_at: The same in Unix milliseconds.
        closed: Nothing is ever appended to it.
        data: Its first append; empty for none.
        fork: Where it begins; None for a stream that is no fork.
    """

    content_type: str
    ttl: int | None = None
    expires: str = ""
    expires_at: int | None = None
    closed: bool = False
    data: bytes = b""
    fork: ForkPoint | None = None


class Producer(NamedTuple):
    """Which append of which producer it is, so that a retry is known as one."""

    id: str
    epoch: int
    seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAppend:
    """What is to be done to a stream: append, close, or both in one step.

    Attributes:
        kind: Of the data, as `kind_of` returns it.
        data: What is appended; empty for nothing.
        seq: Must be above the last one, bytewise; None for none.
        closes: Nothing is appended after it.
        producer: Whose append it is.
    """

    kind: str = ""
    data: bytes = b""
    seq: bytes | None = None
    closes: bool = False
    producer: Producer | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamView:
    """A stream as it is.

    Attributes:
        id: Another one for each life of a path.
        content_type: As it was given.
        tail: Its end.
        closed: Nothing is appended any more.
        ttl: As in `NewStream`.
        expires: As in `NewStream`.
    """

    id: str
    content_type: str
    tail: Offset
    closed: bool
    ttl: int | None
    expires: str


class StreamCreated(NamedTuple):
    """A stream that was made, or that was there with the same configuration."""

    view: StreamView
    is_new: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamAppended:
    """What became of an append.

    Attributes:
        tail: The end of the stream.
        closed: Whether it is closed.
        duplicate: It had been done before.
        seq: The highest sequence number that was accepted of the producer.
    """

    tail: Offset
    closed: bool
    duplicate: bool = False
    seq: int | None = None


class StreamEntry(NamedTuple):
    """One append."""

    offset: Offset
    data: bytes


@dataclass(frozen=True, slots=True)
class StreamPage:
    """What came after an offset.

    Attributes:
        view: The stream.
        start: Behind what it is; never `START`.
        entries: In order.
        encoded: What is made of it once, for all readers that share it, by name.
    """

    view: StreamView
    start: Offset
    entries: Sequence[StreamEntry]
    encoded: dict[str, bytes] = field(default_factory=dict[str, bytes], compare=False)

    @property
    def end(self) -> Offset:
        """The offset for the next read."""
        return self.entries[-1].offset if self.entries else self.start

    @property
    def up_to_date(self) -> bool:
        """Whether the page reaches the end of the stream."""
        return self.end == self.view.tail


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamLimits:
    """How much is kept.

    Attributes:
        max_bytes: Of one stream, with `ENTRY_COST` for each append and producer.
        page_bytes: A page ends with the append that reaches this many bytes.
        max_forks: Of one stream, at the same time.
    """

    max_bytes: int = 2**24
    page_bytes: int = 2**20
    max_forks: int = 1000


# What to read after: an offset; None: nothing, so the page is empty and at the tail.
Where: TypeAlias = Offset | None


class StreamStore(Protocol):
    """Streams by path. What a path is, and who may name it, is decided elsewhere."""

    async def create(self, path: str, new: NewStream) -> StreamCreated | Refused:
        """Make a stream, or find it with the same configuration.

        A path that a deleted stream keeps for its forks is refused as `DELETED`.

        Raises:
            StoreUnreachable: It may be made.
            StoreFailed: It is not; `StoreFull`: for want of room.

        Cancellation:
            It may be made, whole.
        """
        ...

    async def append(self, path: str, new: NewAppend) -> StreamAppended | Refused:
        """Append, close, or both, in one step; the stream's time begins anew.

        Raises:
            StoreUnreachable: It may be done.
            StoreFailed: It is not done; `StoreFull`: for want of room.

        Cancellation:
            It may be done, whole.
        """
        ...

    async def read(
        self, path: str, after: Where, *, touches: bool = True
    ) -> StreamPage | Refused:
        """Return a page.

        Args:
            path: Of the stream.
            after: Where the page begins.
            touches: Whether the stream's time begins anew.

        Raises:
            StoreError: It could not be read.

        Cancellation:
            Nothing is left behind.
        """
        ...

    async def look(self, path: str) -> StreamView | Refused:
        """Return a stream as it is; its time does not begin anew.

        Raises:
            StoreError: It could not be read.

        Cancellation:
            Nothing is left behind.
        """
        ...

    async def delete(self, path: str) -> Refused | None:
        """Delete a stream; one with forks keeps its path for as long as these live.

        Raises:
            StoreUnreachable: It may be deleted.
            StoreFailed: It is not deleted.

        Cancellation:
            It may be deleted. A path that is kept for a fork may be kept until it is
            asked for (`sweep`).
        """
        ...

    async def sweep(self, path: str) -> bool:
        """Free the path of a deleted stream whose forks have gone.

        Returns:
            Whether it is free now.

        Raises:
            StoreError: It is not known whether it is.

        Cancellation:
            It may be free.
        """
        ...

    async def heads(self, keys: Sequence[str]) -> list[str]:
        """Return a mark for each path, which is another one after each change.

        Raises:
            StoreError: The streams could not be looked at.

        Cancellation:
            Nothing is left behind.
        """
        ...


# --- the parts of which forks are made ------------------------------------------------


class Parent(NamedTuple):
    """The source of a fork."""

    path: str
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A source that knows of a fork which is being made.

    Attributes:
        id: Of the source.
        content_type: Of the source.
        ttl: Of the source.
        expires: Of the source.
        expires_at: Of the source.
        base: The offset at which the source begins.
        point: The offset of the fork.
    """

    id: str
    content_type: str
    ttl: int | None
    expires: str
    expires_at: int | None
    base: Offset
    point: Offset


@dataclass(frozen=True, slots=True, kw_only=True)
class Staged:
    """What has been copied for a fork.

    Attributes:
        id: Of the fork.
        base: The offset at which it begins.
        tail: The offset at which the copy ends.
        size: Of the copy.
        parent: Its source.
    """

    id: str
    base: Offset
    tail: Offset
    size: int
    parent: Parent


class StreamParts(Protocol):
    """The steps of making and removing a fork; each is atomic by itself."""

    async def find(self, path: str, new: NewStream) -> StreamCreated | Refused | None:
        """Compare what is at a path; None if it is free."""
        ...

    async def hold(self, path: str, fork_id: str, new: NewStream) -> Held | Refused:
        """Let the source know of a fork with this path and id."""
        ...

    async def copy(
        self, parent: Parent, after: Offset, until: Offset | None
    ) -> Sequence[StreamEntry] | None:
        """Read some entries of a source; None if it is gone."""
        ...

    async def stage(
        self, path: str, fork_id: str, entries: Sequence[StreamEntry]
    ) -> None:
        """Add entries to a fork that is not there yet."""
        ...

    async def finish(
        self, path: str, new: NewStream, staged: Staged
    ) -> StreamCreated | Refused:
        """Make a fork of what was staged."""
        ...

    async def discard(self, path: str, fork_id: str) -> None:
        """Drop what was staged."""
        ...

    async def release(self, parent: Parent, fork_id: str) -> Parent | None:
        """Let a source forget a fork.

        Returns:
            The source's own source, if that was the last fork of a deleted stream,
            which is gone now.
        """
        ...

    async def forks_of(self, path: str) -> tuple[str, Mapping[str, str]] | None:
        """Return the id of a deleted stream, and the paths of its forks by id."""
        ...

    async def id_at(self, path: str) -> str | None:
        """Return the id of what is at a path, also if it is deleted."""
        ...
