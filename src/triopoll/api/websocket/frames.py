"""What is said over a websocket: JSON to dataclasses, and back.

Pure. A client's frame is hostile until it has been read here; whatever is not in the
documented shape is a `BadFrame` with one sentence for the client.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, cast

from ...core.wait_items import EventItem, GroupItem, LogItem
from ...store import ALL, NEW, BadCursor, parse_cursor

__all__ = [
    "AckGroup",
    "AckLog",
    "Alive",
    "BadFrame",
    "Frame",
    "FrameLimits",
    "Ping",
    "Subscribe",
    "Unsubscribe",
    "read_frame",
]

_MOST_ITEMS = 50
_MOST_MESSAGES = 1000
_DEFAULT_MESSAGES = 100


class BadFrame(ValueError):
    """A frame is not in the documented shape; the message says what is wrong."""


@dataclass(frozen=True, slots=True)
class FrameLimits:
    """What a frame may hold.

    Attributes:
        max_key_bytes: Longest key in bytes of UTF-8.
        max_frame_bytes: Longest frame.
        max_items: Subscriptions of one websocket.
    """

    max_key_bytes: int = 256
    max_frame_bytes: int = 2**16
    max_items: int = _MOST_ITEMS


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Follow these logs, wait for these events and groups."""

    items: tuple[LogItem | EventItem | GroupItem, ...]


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """Stop following these."""

    logs: tuple[str, ...]
    events: tuple[str, ...]
    groups: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AckLog:
    """Everything up to the cursor has arrived; what comes after it is wanted."""

    key: str
    cursor: str


@dataclass(frozen=True, slots=True)
class AckGroup:
    """The version has arrived; the next one is wanted."""

    key: str
    version: int


@dataclass(frozen=True, slots=True)
class Ping:
    """The client asks for a pong."""


@dataclass(frozen=True, slots=True)
class Alive:
    """A pong: the client has heard the server's ping."""


Frame: TypeAlias = Subscribe | Unsubscribe | AckLog | AckGroup | Ping | Alive


def read_frame(text: str, limits: FrameLimits) -> Frame:
    """Read a client's frame.

    Raises:
        BadFrame: It is none, or has what cannot be used.
    """
    try:
        shape = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise BadFrame("the frame is no JSON") from None
    if not isinstance(shape, dict):
        raise BadFrame("the frame is no JSON object")
    fields = _Fields(cast("dict[str, Any]", shape), limits)
    kind = fields.take("type")
    reader = _READERS.get(kind) if isinstance(kind, str) else None
    if reader is None:
        raise BadFrame(f"type must be one of {', '.join(_READERS)}")
    frame = reader(fields)
    fields.end()
    return frame


class _Fields:
    """The fields of a JSON object, each of which must be used once."""

    def __init__(self, shape: dict[str, Any], limits: FrameLimits) -> None:
        self._shape = shape
        self.limits = limits

    def take(self, name: str, default: Any = None) -> Any:
        return self._shape.pop(name, default)

    def end(self) -> None:
        if self._shape:
            raise BadFrame(f"there is no field {min(self._shape)!r:.60} here")

    def key(self, name: str = "key") -> str:
        return self._checked_key(self.take(name), name)

    def keys(self, name: str) -> tuple[str, ...]:
        return tuple(self._checked_key(key, name) for key in self.entries(name))

    def entries(self, name: str) -> list[Any]:
        value = self.take(name, [])
        if not isinstance(value, list):
            raise BadFrame(f"{name} is no list")
        items = [*cast("Sequence[Any]", value)]
        if len(items) > self.limits.max_items:
            raise BadFrame(f"{name} has more than {self.limits.max_items} entries")
        return items

    def objects(self, name: str) -> list[_Fields]:
        items = self.entries(name)
        if not all(isinstance(item, dict) for item in items):
            raise BadFrame(f"{name} must hold objects")
        return [_Fields(item, self.limits) for item in items]

    def cursor(self, default: str | None) -> str:
        cursor = self.take("cursor", default)
        if not isinstance(cursor, str):
            raise BadFrame("cursor is no string")
        try:
            if cursor not in (NEW, ALL):
                parse_cursor(cursor)
        except BadCursor as error:
            raise BadFrame(str(error)) from None
        return cursor

    def number(self, name: str, default: int | None, most: int) -> int:
        value = self.take(name, default)
        if isinstance(value, bool) or not isinstance(value, int):
            raise BadFrame(f"{name} is no whole number")
        if not 0 <= value <= most:
            raise BadFrame(f"{name} is not between 0 and {most}")
        return value

    def _checked_key(self, key: Any, name: str) -> str:
        limit = self.limits.max_key_bytes
        if not isinstance(key, str) or not key:
            raise BadFrame(f"{name} is empty or no string")
        try:
            length = len(key.encode())
        except UnicodeEncodeError:
            raise BadFrame(f"{name} is no Unicode text") from None
        if length > limit:
            raise BadFrame(f"{name} is longer than {limit} bytes")
        return key


def _subscribe(fields: _Fields) -> Subscribe:
    items: list[LogItem | EventItem | GroupItem] = []
    for entry in fields.objects("messages"):
        items.append(_log(entry))
        entry.end()
    for entry in fields.objects("events"):
        items.append(EventItem(entry.key(), _default_type(entry)))
        entry.end()
    for entry in fields.objects("groups"):
        items.append(GroupItem(entry.key(), _version(entry)))
        entry.end()
    if not items:
        raise BadFrame("there is nothing to subscribe to")
    return Subscribe(tuple(items))


def _log(entry: _Fields) -> LogItem:
    limit = entry.number("max", _DEFAULT_MESSAGES, _MOST_MESSAGES)
    return LogItem(entry.key(), entry.cursor(NEW), max(1, limit))


def _default_type(entry: _Fields) -> Literal["clear", "set"]:
    match entry.take("default_type", "clear"):
        case "clear":
            return "clear"
        case "set":
            return "set"
        case _:
            raise BadFrame("default_type must be clear or set")


def _version(entry: _Fields) -> int | None:
    version = entry.take("version")
    if version is None:
        return None
    entry = _Fields({"version": version}, entry.limits)
    return entry.number("version", None, 2**63 - 1)


def _unsubscribe(fields: _Fields) -> Unsubscribe:
    return Unsubscribe(
        fields.keys("messages"), fields.keys("events"), fields.keys("groups")
    )


def _ack(fields: _Fields) -> AckLog | AckGroup:
    group = fields.take("group")
    if group is None:
        return AckLog(fields.key(), fields.cursor(None))
    entry = _Fields({"group": group}, fields.limits)
    return AckGroup(entry.key("group"), fields.number("version", None, 2**63 - 1))


_READERS: dict[str, Callable[[_Fields], Frame]] = {
    "subscribe": _subscribe,
    "unsubscribe": _unsubscribe,
    "ack": _ack,
    "ping": lambda _: Ping(),
    "pong": lambda _: Alive(),
}


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON")
