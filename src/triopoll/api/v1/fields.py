"""How the fields of requests are read: JSON values to Python's, or a sentence.

A field is declared once, with the function that reads it and with its JSON schema, so
the description of the API is made from the lines that read it (see `openapi`).
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import json
import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, TypeVar, cast

from ...settings import Settings

__all__ = [
    "BadRequest",
    "bounded",
    "build",
    "field",
    "integer",
    "items_of",
    "one_of",
    "read_base64",
    "read_data",
    "read_json",
    "read_key",
    "read_timeout",
    "read_ttl",
    "text_up_to",
]

_T = TypeVar("_T")
_Json: TypeAlias = Any
_Read: TypeAlias = Callable[[_Json, str, Settings], Any]


class BadRequest(ValueError):
    """The request cannot be used; the message is a sentence that names what."""


def field(
    read: _Read,
    description: str,
    /,
    default: Any = dataclasses.MISSING,
    **schema: Any,
) -> Any:
    """Declare a field: how it is read, and its JSON schema."""
    metadata = {"read": read, "schema": {**schema, "description": description}}
    return dataclasses.field(default=default, metadata=metadata)


def build(kind: type[_T], value: object, name: str, settings: Settings) -> _T:
    """Read an object.

    Raises:
        BadRequest: It is none, a field is unknown, lacks or cannot be read; or the
            object's `check`, if it has one, says what does not go together.
    """
    if not isinstance(value, dict):
        raise BadRequest(f"{name} is not an object")
    given = cast("dict[str, _Json]", value)
    fields = {each.name: each for each in dataclasses.fields(cast("Any", kind))}
    for each in given:
        if each not in fields:
            raise BadRequest(f"{name} has an unknown field: {each[:40]!r}")
    read: dict[str, Any] = {}
    for each, declared in fields.items():
        if each in given:
            at = f"{name}.{each}" if "[" in name else each
            read[each] = declared.metadata["read"](given[each], at, settings)
        elif declared.default is dataclasses.MISSING:
            raise BadRequest(f"{name} lacks {each}")
    built = kind(**read)
    check = getattr(built, "check", None)
    if check is not None:
        check(name, frozenset(given))
    return built


def read_json(body: bytes | str) -> object:
    """Read JSON of which nothing is lost: no name twice, no NaN.

    Raises:
        BadRequest: It is none, or nested too deep.
    """
    try:
        text = body.decode() if isinstance(body, bytes) else body
        return cast(
            "object",
            json.loads(
                text, object_pairs_hook=_without_twins, parse_constant=_refuse_constant
            ),
        )
    except UnicodeDecodeError:
        raise BadRequest("the body is not UTF-8") from None
    except RecursionError:
        raise BadRequest("the body is nested too deep") from None
    except BadRequest:
        raise
    except ValueError:
        # Also an integer with too many digits.
        raise BadRequest("the body is not JSON") from None


# --- readers --------------------------------------------------------------------------


def read_key(value: _Json, name: str, settings: Settings) -> str:
    """Read the name of a log, an event or a group."""
    return bounded(value, name, settings.max_key_bytes)


def bounded(value: _Json, name: str, limit: int) -> str:
    """Read text of 1 to so many bytes of UTF-8."""
    text = _text(value, name)
    if not text:
        raise BadRequest(f"{name} is empty")
    if len(text.encode()) > limit:
        raise BadRequest(f"{name} is longer than {limit} bytes")
    return text


def _text(value: _Json, name: str) -> str:
    if not isinstance(value, str):
        raise BadRequest(f"{name} is not a string")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise BadRequest(f"{name} has a surrogate that stands alone") from None
    return value


def text_up_to(limit: int) -> _Read:
    """Return a reader of text of 1 to so many bytes of UTF-8."""

    def read(value: _Json, name: str, _settings: Settings) -> str:
        return bounded(value, name, limit)

    return read


def read_data(value: _Json, name: str, settings: Settings) -> bytes:
    """Read a message that is text."""
    return _fitting(_text(value, name).encode(), name, settings)


def read_base64(value: _Json, name: str, settings: Settings) -> bytes:
    """Read a message in base64."""
    try:
        decoded = base64.b64decode(_text(value, name), validate=True)
    except (binascii.Error, ValueError):
        raise BadRequest(f"{name} is not base64") from None
    return _fitting(decoded, name, settings)


def _fitting(message: bytes, name: str, settings: Settings) -> bytes:
    if len(message) > settings.max_message_bytes:
        raise BadRequest(f"{name} is longer than {settings.max_message_bytes} bytes")
    return message


def _number(value: _Json, name: str) -> float:
    # A bool is an int; and an int may be too large for a float.
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if math.isfinite(number):
            return number
    raise BadRequest(f"{name} is not a number")


def read_timeout(value: _Json, name: str, settings: Settings) -> float:
    """Read how long to wait, and cut it to the maximum."""
    number = _number(value, name)
    if number < 0:
        raise BadRequest(f"{name} is below 0")
    return min(number, settings.v1_max_timeout)


def read_ttl(value: _Json, name: str, settings: Settings) -> float:
    """Read for how many seconds something is kept, and cut it to the maximum."""
    number = _number(value, name)
    if number <= 0:
        raise BadRequest(f"{name} is not above 0")
    return min(number, settings.log_max_ttl)


def integer(lowest: int, highest: int) -> _Read:
    """Return a reader of integers in these bounds."""

    def read(value: _Json, name: str, _settings: Settings) -> int:
        # JSON knows one kind of number: 2.0 is 2.
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        is_integer = isinstance(value, int) and not isinstance(value, bool)
        if not (is_integer and lowest <= value <= highest):
            raise BadRequest(f"{name} is not an integer from {lowest} to {highest}")
        return cast("int", value)

    return read


def one_of(*words: str) -> _Read:
    """Return a reader of one of some words."""

    def read(value: _Json, name: str, _settings: Settings) -> str:
        if value not in words or not isinstance(value, str):
            raise BadRequest(f"{name} is not one of: {', '.join(words)}")
        return value

    return read


def items_of(kind: type[_T], most: int) -> _Read:
    """Return a reader of a list of 1 to so many objects."""

    def read(value: _Json, name: str, settings: Settings) -> tuple[_T, ...]:
        if not isinstance(value, list):
            raise BadRequest(f"{name} is not a list")
        values = cast("Sequence[_Json]", value)
        if not 1 <= len(values) <= most:
            raise BadRequest(f"{name} has not 1 to {most} items")
        return tuple(
            build(kind, each, f"{name}[{place}]", settings)
            for place, each in enumerate(values)
        )

    return read


def _without_twins(pairs: list[tuple[str, _Json]]) -> dict[str, _Json]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise BadRequest("an object in the body has a name twice")
    return found


def _refuse_constant(name: str) -> None:
    raise BadRequest(f"the body has {name}, which is not JSON")
