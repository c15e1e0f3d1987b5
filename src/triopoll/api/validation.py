"""What is wrong with a client's JSON, as a sentence that names the field.

msgspec decodes a request and checks it in one pass. Its errors are written for Python
programmers ("Expected `str`, got `int` - at `$.items[0].key`"); the functions here
write them for the client ("items[0].key is not a string"). `explain` and
`explain_malformed` run only for requests that are refused, so they may be slow.
"""

# Msgspec's hooks and JSON are of any type until they are checked:
# pyright: reportArgumentType=false, reportCallIssue=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

import json
import operator
import re
from collections.abc import Container, Iterable, Sequence
from typing import Any, ClassVar, Literal, TypeAlias, TypeVar

import msgspec
from msgspec.json import Decoder

from ..settings import is_internal

__all__ = [
    "MALFORMED",
    "MAX_DEPTH",
    "BadRequest",
    "BoundedInteger",
    "DefaultType",
    "StrictStruct",
    "check_json_value",
    "check_key",
    "check_length",
    "check_names",
    "decode",
    "decode_integer",
    "decoder_of",
    "explain",
    "explain_malformed",
    "field_at",
    "split_members",
    "value_or_none",
]

DefaultType: TypeAlias = Literal["clear", "set"]
_T = TypeVar("_T")
_Integer = TypeVar("_Integer", bound="BoundedInteger")

# What msgspec raises for bytes that are not JSON. A `ValidationError` is a DecodeError
# too, so handlers for it come first.
MALFORMED = (msgspec.DecodeError, UnicodeError, RecursionError)

# Levels of arrays and objects in a value. Python's json stops at about 1000 levels,
# less the calls that surround it, and other parsers earlier.
MAX_DEPTH = 128

# The fields whose value is one of some words.
_CHOICES = {"default_type": "clear, set", "live": "sse"}
_NO_TIME = "is neither seconds nor a time in ISO 8601 with its zone"
_ERROR = re.compile(r"(?P<what>.*?)(?: - at `\$\.?(?P<path>[^`]*)`)?", re.DOTALL)
_SENTENCES: Sequence[tuple[re.Pattern[str], str]] = [
    (re.compile(pattern, re.DOTALL), sentence)
    for pattern, sentence in (
        (r"Object missing required field `(\w+)`", "lacks {0}"),
        (r"Object contains unknown field `(.{,40}).*`", "has an unknown field: {0!r}"),
        (r"Expected `str` of length >= 1", "is empty"),
        # msgspec counts characters. What has too many of them has too many bytes.
        (r"Expected `str` of length <= (\d+)", "is longer than {0} bytes"),
        (r"Expected `array` of length >= 1", "is empty"),
        (r"Expected `array` of length <= (\d+)", "has more than {0} items"),
        (r"Expected `object` of length <= (\d+)", "has more than {0} members"),
        (r"(?:Expected `float \| datetime`|Invalid RFC3339).*", _NO_TIME),
        (r"Expected `datetime` with a timezone.*", _NO_TIME),
        (r"Expected `bool`.*", "is not true or false"),
        (r"Expected `(?:int|float)` >= (\d+)(?:\.0)?", "is below {0}"),
        (r"Expected `(?:int|float)` <= (\d+)(?:\.0)?", "is above {0}"),
        (r"Expected `float` > (\d+)\.0", "is not above {0}"),
        (r"Expected `(?:str|bytes).*", "is not a string"),
        (r"Expected `int.*", "is not an integer"),
        (r"Expected `float.*|.* out of range", "is not a number"),
        (r"Expected `object.*", "is not an object"),
        (r"Expected `array.*", "is not a list"),
        (r"Invalid base64 .*", "is not base64"),
        (r"(.*)", "{0}"),
    )
]
_STEPS = {b"[": 1, b"{": 1, b"]": -1, b"}": -1}
_STRING_OR_BRACKET = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]', re.DOTALL)


class BadRequest(ValueError):
    """The request cannot be used; the message is a sentence that names what."""


class StrictStruct(msgspec.Struct, forbid_unknown_fields=True):
    """A Struct that has no other fields than those declared."""


class BoundedInteger(int):
    """An integer within bounds, in the JSON of a request.

    JSON has one kind of number, so 2.0 is an integer; msgspec's `int` does not take it.
    """

    low: ClassVar[int]
    high: ClassVar[int]


def decode_integer(kind: type[_Integer], value: Any) -> _Integer:
    """Return a `BoundedInteger`, or raise ValueError; a `dec_hook` of msgspec."""
    # A bool is an int in Python, and none in JSON.
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number and kind.low <= value <= kind.high and value == int(value):
        return kind(value)
    raise ValueError(f"is not an integer from {kind.low} to {kind.high}")


def decoder_of(kind: type[_T]) -> Decoder[_T]:
    """Return the decoder of a Struct of requests."""
    return Decoder(kind, dec_hook=decode_integer)


def decode(decoder: Decoder[_T], text: bytes | str | msgspec.Raw, place: str) -> _T:
    """Decode JSON, or raise `BadRequest` if it has another shape.

    Raises:
        BadRequest: With a sentence that names the field.
        msgspec.DecodeError: It is not JSON (see `MALFORMED`).
    """
    try:
        return decoder.decode(text)
    except msgspec.ValidationError as error:
        raise BadRequest(explain(error, place)) from None


# --- what is wrong --------------------------------------------------------------------


def field_at(place: str, name: str) -> str:
    """Return what a field is called in a sentence.

    Args:
        place: The object that has the field: "the body", "the query", "items[3]".
        name: The field, or a path below it.
    """
    return f"{place}.{name}" if "[" in place else name


def explain(error: msgspec.ValidationError, place: str) -> str:
    """Return a sentence for JSON that does not have the shape that it should have."""
    match = _ERROR.fullmatch(str(error))
    assert match is not None  # both parts may be empty
    what, path = match["what"], match["path"] or ""
    at = field_at(place, path) if path else place
    choices = _CHOICES.get(path.rpartition(".")[2])
    if choices is not None:
        return f"{at} is not one of: {choices}"
    for pattern, sentence in _SENTENCES:
        if found := pattern.fullmatch(what):
            return f"{at} {sentence.format(*found.groups())}"
    raise AssertionError(what)  # the last pattern matches everything


def explain_malformed(text: bytes | str, place: str = "the body") -> str:
    """Return a sentence for text that msgspec could not decode."""
    try:
        decoded = text.decode() if isinstance(text, bytes) else text
        value = json.loads(decoded, parse_constant=_refuse_constant)
        path = _find_surrogate(value)
    except UnicodeDecodeError:
        return f"{place} is not UTF-8"
    except RecursionError:
        return f"{place} is nested too deep"
    except BadRequest as error:
        return f"{place} has {error}, which is not JSON"
    except ValueError:
        path = None
    if path is None:
        return f"{place} is not JSON"
    at = field_at(place, path.removeprefix(".")) if path else place
    return f"{at} has a surrogate that stands alone"


def _refuse_constant(name: str) -> None:
    raise BadRequest(name)


def _find_surrogate(value: Any) -> str | None:
    """Return the path of the first string that has half a surrogate pair."""
    members: list[tuple[str, Any]] = []
    if isinstance(value, str):
        return None if _is_text(value) else ""
    if isinstance(value, dict):
        if not all(map(_is_text, value)):
            return ""
        members = [(f".{name}", each) for name, each in value.items()]
    elif isinstance(value, list):
        members = [(f"[{place}]", each) for place, each in enumerate(value)]
    for step, each in members:
        if (path := _find_surrogate(each)) is not None:
            return step + path
    return None


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


# --- what msgspec does not check ------------------------------------------------------


class _Name(str):
    """The name of a member; two are never equal, so a dict keeps both."""

    __slots__ = ()
    __hash__ = object.__hash__
    __eq__ = object.__eq__
    __ne__ = object.__ne__


# `operator.call(_Name, "key")` is `_Name("key")`.
_MEMBERS = Decoder(dict[_Name, msgspec.Raw], dec_hook=operator.call)


def split_members(
    text: bytes | str | msgspec.Raw, place: str
) -> dict[str, msgspec.Raw]:
    """Return the members of a JSON object, their values not decoded.

    msgspec takes the last of several members with one name, and other parsers the
    first, so an object with two is refused here.

    Raises:
        BadRequest: It is not an object, or has a name twice.
        msgspec.DecodeError: It is not JSON (see `MALFORMED`).
    """
    try:
        pairs = _MEMBERS.decode(text)
    except msgspec.ValidationError:
        raise BadRequest(f"{place} is not an object") from None
    members: dict[str, msgspec.Raw] = {}
    for name, value in pairs.items():
        if members.setdefault(str(name), value) is not value:
            raise BadRequest(f"{place} has {str(name)[:40]!r} twice")
    return members


def check_names(
    members: Iterable[str],
    struct: Any,
    place: str,
    kind: str | None = None,
    elsewhere: Container[str] = (),
) -> None:
    """Check the names before the values: a misspelt field is what a sentence names.

    Args:
        members: The names.
        struct: The Struct that says which there may be.
        place: What has them: "the body", "items[3]".
        kind: The type of an item; None for what has none.
        elsewhere: Names that items of other types have.
    """
    for name in members:
        if name not in struct.__struct_fields__:
            if name in elsewhere:
                raise BadRequest(f"{place} of type {kind} has no {name}")
            raise BadRequest(f"{place} has an unknown field: {name[:40]!r}")


def value_or_none(value: _T | msgspec.UnsetType) -> _T | None:
    """Return a field that may be left out; None without it."""
    return None if isinstance(value, msgspec.UnsetType) else value


def check_length(value: str | bytes, limit: int, place: str, name: str) -> None:
    """Check that a value has at most so many bytes, those of UTF-8 if it is text."""
    # A character has at least one byte and at most four.
    if 4 * len(value) > limit:
        size = len(value.encode() if isinstance(value, str) else value)
        if size > limit:
            raise BadRequest(f"{field_at(place, name)} is longer than {limit} bytes")


def check_key(key: str, limit: int, place: str, name: str) -> None:
    """Check that a key is within its limit, and not one of the service's own."""
    check_length(key, limit, place, name)
    if is_internal(key):
        raise BadRequest(f"{field_at(place, name)} is a name that is reserved")


def check_json_value(text: bytes, at: str) -> None:
    """Check that every JSON parser can read a value that msgspec has skipped as Raw.

    Raises:
        BadRequest: It has a number that some parsers refuse, or is nested too deep.
        msgspec.DecodeError: It has a string that is not Unicode (see `MALFORMED`).
    """
    try:
        msgspec.json.decode(text)
    except msgspec.ValidationError:
        raise BadRequest(f"{at} has a number that is out of range") from None
    # Brackets within strings count here as well, so most values need no second look.
    if text.count(b"[") + text.count(b"{") > MAX_DEPTH and _depth(text) > MAX_DEPTH:
        raise BadRequest(f"{at} is nested deeper than {MAX_DEPTH} levels")


def _depth(text: bytes) -> int:
    deepest = depth = 0
    for token in _STRING_OR_BRACKET.findall(text):
        depth += _STEPS.get(token, 0)
        deepest = max(deepest, depth)
    return deepest
