"""What a log of messages does: every reader gets all of it, in order, by cursor.

A log is kept for each key. A message in it is numbered; its id is also the cursor of a
reader who has read as far as that message, so that a reader's next question says what
it has. Nothing is taken away by reading.

A cursor is `EPOCH.N.TAG`, opaque to clients:

- EPOCH names one life of the storage. A storage that was emptied has another one.
- N is the number of a message: one more than that of the message before, for as long
  as the log's numbers are remembered (`LogLimits.memory`, counted from the last append
  or read). A log that starts anew starts at the present time in microseconds, so its
  numbers are above all earlier ones, and a number is never ahead of the time of its
  message. (Above a million messages a second this would not hold.)
- TAG is random, one for each message. A Redis that was restarted without its last
  writes gives out their numbers again, to other messages: then the tags differ.

So a reader can be told whether it has missed anything, and often how much. Without a
message to point at, N is the present time, and TAG is 0000; in a Redis that may have
lost writes it stands for how often that was.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from ._base import StoreError
from ._log_tail import LogTail

__all__ = [
    "ALL",
    "Appended",
    "BadCursor",
    "Cursor",
    "LogLimits",
    "MessageLog",
    "NEW",
    "NO_TAG",
    "NewMessage",
    "Override",
    "Page",
    "StoredMessage",
    "empty_number",
    "new_epoch",
    "new_tag",
    "parse_cursor",
    "parse_question",
]

NEW = "new"
ALL = "all"
NO_TAG = "0000"
# Microseconds.
_EMPTY_STEP = 10_000_000

_CURSOR = re.compile(r"([0-9a-f]{8})\.([1-9][0-9]{0,15})\.([0-9a-f]{4})", re.ASCII)


class BadCursor(ValueError):
    """The text is not a cursor that was ever given out."""


class Cursor(NamedTuple):
    """A place in a log: after this message."""

    epoch: str
    n: int
    tag: str

    def __str__(self) -> str:
        return f"{self.epoch}.{self.n}.{self.tag}"


def parse_cursor(text: str) -> Cursor:
    """Read a cursor that a client sent.

    Raises:
        BadCursor: The text has another shape. It may be of any length.
    """
    match = _CURSOR.fullmatch(text)
    if match is None:
        raise BadCursor(f"the cursor must be {NEW}, {ALL}, or one from an answer")
    return Cursor(match[1], int(match[2]), match[3])


def parse_question(cursor: str, limit: int) -> Cursor | None:
    """Read what a reader asks with.

    Returns:
        The cursor, or None for `NEW` and `ALL`.

    Raises:
        BadCursor: It is none of these.
        ValueError: The page could not hold a message.
    """
    if limit < 1:
        raise ValueError(f"a page of {limit} messages cannot be read")
    return None if cursor in (NEW, ALL) else parse_cursor(cursor)


def empty_number(now: float, memory: float) -> int:
    """Return the number of a cursor that is given out where there is no message.

    It is the time in microseconds, rounded down: the readers of an empty log have few
    cursors, and so they share what is read when they are woken.

    Args:
        now: Unix seconds.
        memory: As in `LogLimits`; the cursor looks older by an eighth of it at most.
    """
    micros = int(now * 1e6)
    return micros - micros % min(_EMPTY_STEP, int(memory * 125_000))


def new_epoch() -> str:
    """Return a name for a life of the storage."""
    return secrets.token_hex(4)


def new_tag() -> str:
    """Return a tag for one message; never the one that stands for none."""
    return f"{1 + secrets.randbelow(0xFFFF):04x}"


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A message to append.

    Attributes:
        key: The log; the caller bounds its length.
        data: The message, any bytes.
        id: The publisher's name for it: within `LogLimits.seen` a second message of
            this key with this name is not stored, and the publisher gets the id of the
            first. The caller bounds its length.
        ttl: Seconds for which it is kept; None: `LogLimits.max_age`.
        is_json: The data is the text of a JSON value, and is read as one.
    """

    key: str
    data: bytes
    id: str | None = None
    ttl: float | None = None
    is_json: bool = False


@dataclass(frozen=True, slots=True)
class Appended:
    """What became of a message.

    Attributes:
        id: Its id, which is the cursor after it.
        duplicate: It had been appended before, under this id.
    """

    id: str
    duplicate: bool


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A message as it is read.

    Attributes:
        id: Its id, which is the cursor after it.
        data: The bytes that were appended.
        ts: When it was appended, in Unix seconds.
        is_json: The data is the text of a JSON value.
    """

    id: str
    data: bytes
    ts: float
    is_json: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """What came after a cursor.

    Attributes:
        messages: In the order in which they were appended. There may be more behind
            the cursor, unless there are none.
        cursor: For the next question.
        gap: Messages between the two cursors are gone, or may be.
        lost: How many are gone, 0 without a gap; None: that cannot be known.
    """

    messages: tuple[StoredMessage, ...]
    cursor: str
    gap: bool = False
    lost: int | None = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLimits:
    """How much is kept, and for how long.

    Attributes:
        max_messages: The newest of a key that are kept.
        max_age: Seconds for which a message is kept that does not say for how long.
        max_ttl: Seconds for which one is kept at most, whatever it says.
        memory: Seconds after the last append, or a reader's last question, for which
            it is known how far a log's numbers went; at least `max_ttl`.
        seen: Seconds for which a publisher's own id is recognised.
        page_bytes: A page ends with the message that reaches this many bytes.
        trim_acked: A reader's cursor removes everything up to it, for all readers.
        overrides: Limits of some keys, the first that match one. They differ in how
            much is kept, and not in `memory`, `seen` and `page_bytes`.
    """

    max_messages: int = 1000
    max_age: float = 3600.0
    max_ttl: float = 7 * 86400.0
    memory: float = 7 * 86400.0
    seen: float = 600.0
    page_bytes: int = 2**20
    trim_acked: bool = False
    overrides: tuple[Override, ...] = ()

    def __post_init__(self) -> None:
        if self.memory < self.max_ttl:
            raise ValueError("a log must be remembered for as long as its messages")

    def of(self, key: str) -> LogLimits:
        """Return the limits of a log."""
        for text, is_prefix, limits in self.overrides:
            if key.startswith(text) and (is_prefix or key == text):
                return limits
        return self

    def lifetime(self, ttl: float | None) -> float:
        """Return for how many seconds a message is kept that asks for `ttl`."""
        return max(0.001, min(self.max_age if ttl is None else ttl, self.max_ttl))


class Override(NamedTuple):
    """The limits of the key of this name, or of those with this prefix."""

    text: str
    is_prefix: bool
    limits: LogLimits


class MessageLog(Protocol):
    """Logs of messages by key, which any number of readers follow by cursor."""

    async def append(
        self, messages: Sequence[NewMessage]
    ) -> list[Appended | StoreError]:
        """Append messages, to one log or to several.

        All messages of one key become visible at once, in the order given.

        Returns:
            For each message, in the order given, what became of it; or the error that
            it met, which says nothing of the others: `StoreFailed` if it was not
            appended, `StoreUnreachable` if it may have been.

        Cancellation:
            Any of the messages may have been appended.
        """
        ...

    async def read(
        self, key: str, cursor: str, limit: int, *, share: int = 1, acks: bool = True
    ) -> Page:
        """Read on from a cursor.

        Messages that have outlived their time, or were trimmed, are counted as lost
        and never delivered. The same cursor again gives the same messages with the
        same ids, but for those.

        Args:
            key: The log.
            cursor: From an answer; `NEW`: from now on; `ALL`: all that are kept.
            limit: Messages that the page may hold, at least 1.
            share: How many pages are read together; they have the bytes of one.
            acks: Whether the reader has what is before the cursor: then it may be
                trimmed (`LogLimits.trim_acked`).

        Returns:
            A page. If the cursor is from before the storage was emptied, or its
            message was lost with the storage's last writes, the page has a gap of
            unknown size and begins with the oldest message that is kept.

        Raises:
            BadCursor: The cursor's text is not one.
            StoreError: The log could not be read.

        Cancellation:
            Nothing is left behind.
        """
        ...

    async def heads(self, keys: Sequence[str]) -> list[str]:
        """Return a mark for each log, which is another one after each append.

        Cheaper than reading, for a look at many logs every few seconds.

        Raises:
            StoreError: The logs could not be looked at.

        Cancellation:
            Nothing is left behind.
        """
        ...

    async def tail(
        self, key: str, limit: int, most_bytes: int, before: int | None = None
    ) -> LogTail:
        """Return the end of a log, for an operator. It counts as no reader.

        Args:
            key: The log.
            limit: Messages that are returned at most, at least 1.
            most_bytes: Bytes of each of them that are returned at most.
            before: Messages from this number on are left out; None: the newest first.

        Raises:
            StoreError: The log could not be read.

        Cancellation:
            Nothing is left behind.
        """
        ...
