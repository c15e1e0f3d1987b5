"""``/v1/stream/log/KEY``: the message log of a key, as a stream that can only be read.

Each message is one JSON message of the stream, as `/v1/messages` writes it. An offset
is a cursor in other letters, both ways: `EPOCH.N.TAG` has 32 bits, a number and 16
bits, and an offset has the number in front and the other 48 bits as 16 digits behind
it. A gap is an offset that is gone.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from ...core.followed_log import FollowedLog
from ...core.log_wait import LogWait
from ...core.outcomes import Failure
from ...core.reader import Reader
from ...core.stream_wait import StreamRead
from ...core.wait_items import LogItem, ReadResult
from ...services import Services
from ...store import (
    ALL,
    NEW,
    START,
    Cursor,
    LogLimits,
    Offset,
    Refused,
    StreamEntry,
    StreamPage,
    StreamRefusal,
    StreamView,
    Where,
    parse_cursor,
)
from ..v1.serializers import encode, log_message
from .decoding import JSON

__all__ = ["LogFollower", "LogView", "cursor_of", "offset_of", "stream_read"]

# Messages of a page; it also ends by its bytes.
_LIMIT = 1000
_GONE = Refused(reason=StreamRefusal.LOST_OFFSET)
_TAG_BITS = 16
_EPOCH_BITS = 32


class LogView:
    """Reads logs as `core.streams.Streams` reads streams."""

    def __init__(self, services: Services) -> None:
        """Use the reader of `/v1/messages`."""
        self.metrics = services.streams.metrics
        self._reader = services.reader

    async def read(self, key: str, after: Where) -> StreamRead | Refused | Failure:
        """Read a page; see `Streams.read`.

        Cancellation:
            Nothing is left behind.
        """
        cursor = cursor_of(after)
        if cursor is None:
            return _GONE
        found = await self._reader.read_messages(LogItem(key, cursor, _LIMIT))
        return stream_read(found, after)

    async def begin_read(
        self, key: str, after: Where, seconds: float, visitor: str | None = None
    ) -> LogWait | ReadResult | Refused | Failure:
        """Read a page; if there is nothing, wait for something.

        Args:
            key: Of the log.
            after: As for `Streams.begin_read`.
            seconds: As for `Streams.begin_read`.
            visitor: As for `Streams.begin_read`.

        Returns:
            What `stream_read` makes a page of, why there is none, or a wait for one of
            these.

        Cancellation:
            Nothing is left behind.
        """
        cursor = cursor_of(after)
        if cursor is None:
            return _GONE
        item = LogItem(key, cursor, _LIMIT)
        return await self._reader.begin_messages(item, seconds, visitor)

    async def look(self, key: str) -> StreamView | Refused | Failure:
        """Return a log as it is; one without messages is an empty stream.

        Cancellation:
            Nothing is left behind.
        """
        found = await self.read(key, None)
        return found.page.view if isinstance(found, StreamRead) else found

    @contextmanager
    def follow(
        self, key: str, after: Where, visitor: str | None = None
    ) -> Generator[LogFollower]:
        """Read a log page by page within the block; see `Streams.follow`."""
        cursor = cursor_of(after)
        item = LogItem(key, cursor or ALL, _LIMIT)
        with self._reader.follow(item, visitor) as log:
            yield LogFollower(self._reader, log, after, is_known=cursor is not None)


class LogFollower:
    """Reads a log from an offset on; see `StreamFollower`. Made by `LogView.follow`."""

    def __init__(
        self, reader: Reader, log: FollowedLog, after: Where, *, is_known: bool
    ) -> None:
        """Only `LogView` makes one."""
        self._reader = reader
        self._log = log
        self._after = after
        self._is_known = is_known

    async def next(self, seconds: float) -> StreamRead | Refused | Failure:
        """Return the next page; see `StreamFollower.next`.

        Cancellation:
            The next call returns what this one would have.
        """
        if not self._is_known:
            return _GONE
        read = stream_read(
            await self._reader.next_page(self._log, seconds), self._after
        )
        if isinstance(read, StreamRead):
            self._after = read.page.end
        return read


def cursor_of(after: Where) -> str | None:
    """Return the cursor that an offset stands for, None if it stands for none."""
    if after is None:
        return NEW
    if after == START:
        return ALL
    bits = int(after.tag)
    epoch, tag = divmod(bits, 2**_TAG_BITS)
    if not after.number or epoch >= 2**_EPOCH_BITS:
        return None
    return str(Cursor(f"{epoch:08x}", after.number, f"{tag:04x}"))


def offset_of(text: str) -> Offset:
    """Return the offset that stands for a cursor."""
    cursor = parse_cursor(text)
    bits = (int(cursor.epoch, 16) << _TAG_BITS) + int(cursor.tag, 16)
    return Offset(cursor.n, f"{bits:016d}")


def stream_read(
    found: ReadResult | Failure, after: Where
) -> StreamRead | Refused | Failure:
    """Return what was read of a log, as what was read of a stream."""
    if isinstance(found, Failure):
        return found
    if found.page.gap:
        return _GONE
    return StreamRead(_page(found, after), found.woken)


def _page(found: ReadResult, after: Where) -> StreamPage:
    end = offset_of(found.page.cursor)
    messages = found.page.messages
    entries = [
        StreamEntry(offset_of(message.id), encode(log_message(message)))
        for message in messages
    ]
    if entries:
        # What is behind the last message has been read as well, if only its end.
        entries[-1] = StreamEntry(end, entries[-1].data)
    # A page that is full may not be the last. (One may also end at a seam. It is taken
    # for the last one then, and the next read reports the gap.)
    is_full = len(entries) >= _LIMIT or found.size >= LogLimits().page_bytes
    view = StreamView(
        # Messages end before the page that they are in does, which an ETag must show.
        id=f"log:{len(entries)}:{messages[0].id if messages else ''}",
        content_type=JSON,
        tail=START if is_full else end,
        closed=False,
        ttl=None,
        expires="",
    )
    start = end if after is None or not entries else after
    return StreamPage(view, start, entries)
