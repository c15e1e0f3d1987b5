"""The one parser for query strings, and the one grammar for numbers in them.

A query is percent-encoded bytes. It is parsed once for each request, and short ones
once for each process, since clients poll again with the same query.
"""

from __future__ import annotations

import functools
import math
import re
from dataclasses import dataclass
from urllib.parse import parse_qsl

__all__ = ["MAX_FIELDS", "BadQuery", "Query", "is_utf8", "parse_query", "read_number"]

# A wait may name 50 items, each in one field, beside its other parameters.
MAX_FIELDS = 100
_CACHED_BYTES = 256
# What programs write for a number of seconds: Python and JavaScript write small ones
# with an exponent. float() also accepts "nan", "1_0", " 1" and "٣".
_NUMBER = re.compile(r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?", re.ASCII)
_MAX_NUMBER_LENGTH = 32


class BadQuery(ValueError):
    """The query string cannot be parsed; the message is a sentence."""


@dataclass(frozen=True, slots=True)
class Query:
    """A parsed query string.

    Attributes:
        raw: The bytes as received.
        pairs: Names and values in order, empty ones included, decoded as UTF-8. Bytes
            that are not UTF-8 are surrogate escapes (see `is_utf8`).
    """

    raw: bytes
    pairs: tuple[tuple[str, str], ...]

    def values(self, name: str) -> list[str]:
        """Return all values of a parameter, in order."""
        return [value for given, value in self.pairs if given == name]


def parse_query(raw: bytes) -> Query:
    """Parse a query string.

    Raises:
        BadQuery: It has more than `MAX_FIELDS` fields.
    """
    return _parse_cached(raw) if len(raw) <= _CACHED_BYTES else _parse(raw)


def is_utf8(text: str) -> bool:
    """Return whether a name or value of a `Query` was valid UTF-8."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def read_number(text: str) -> int | float | None:
    """Return the number that a parameter spells, or None if it spells none.

    Args:
        text: At most 32 characters: digits, with an optional fraction and exponent. No
            sign, and nothing above what a float can hold.
    """
    if len(text) > _MAX_NUMBER_LENGTH or not _NUMBER.fullmatch(text):
        return None
    number = int(text) if text.isdecimal() else float(text)
    return number if number < math.inf else None


def _parse(raw: bytes) -> Query:
    try:
        # As Latin-1 each byte is one character, whether percent-encoded or not; so a
        # UTF-8 sequence that mixes both forms is decoded as a whole afterwards.
        pairs = parse_qsl(
            raw.decode("latin-1"),
            keep_blank_values=True,
            encoding="latin-1",
            max_num_fields=MAX_FIELDS,
        )
    except ValueError:
        raise BadQuery(f"the query has more than {MAX_FIELDS} fields") from None
    return Query(raw, tuple((_decode(name), _decode(value)) for name, value in pairs))


_parse_cached = functools.lru_cache(maxsize=4096)(_parse)


def _decode(text: str) -> str:
    if text.isascii():
        return text
    return text.encode("latin-1").decode("utf-8", "surrogateescape")
