"""Read the query string of a poll: bytes to a frozen dataclass, or a sentence.

A query is hostile until it has been read here: nothing is guessed, cut or taken from
the first of two values, because what a poll waits for must be what its author meant.
Parameters that are not ours are let through (front ends add ``_=<time>`` to get
around caches).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Collection, Mapping
from typing import Literal, TypeAlias, TypeVar
from urllib.parse import parse_qsl

from ...core.poll_query import PollQuery
from ...settings import Settings

__all__ = [
    "BadParameter",
    "parse_poll",
    "read_key",
    "read_parameters",
    "read_seconds",
    "read_timeout",
    "remembering",
]

# Far above what a long key, percent-encoded, needs.
_MAX_QUERY_BYTES = 8192
_MAX_PARAMETERS = 32
# Queries up to this length are remembered with what they mean.
_REMEMBERED_BYTES = 256
_PARAMETERS = ("event", "default_type", "wait_type", "timeout")
# Only what a person would write: float() also takes "nan", "1_0" and "٣".
_NUMBER = re.compile(r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)", re.ASCII)
_MAX_NUMBER_LENGTH = 32

Default: TypeAlias = Literal["clear", "set"]
_Choice = TypeVar("_Choice")

# An empty value is the default, which is what an absent parameter means as well.
_DEFAULTS: dict[str, Default] = {"": "clear", "clear": "clear", "set": "set"}
_RESETS = {"": False, "reset": True}


class BadParameter(ValueError):
    """A parameter cannot be used; the message is a sentence that names it."""


def parse_poll(query: bytes, settings: Settings) -> PollQuery:
    """Read the parameters of ``/poll/event`` and ``/poll/message``.

    Args:
        query: The query string as it came, percent-encoded.
        settings: For the default and the limits.

    Returns:
        The poll, its timeout clamped to ``settings.max_timeout``.

    Raises:
        BadParameter: For anything that is not as documented.
    """
    given = read_parameters(query, _PARAMETERS)
    key = read_key(given, "event", settings)
    timeout = read_timeout(given, settings)
    return PollQuery(
        key=key,
        default=_choice(given, "default_type", _DEFAULTS),
        reset=_choice(given, "wait_type", _RESETS),
        timeout=timeout,
        # Twice the timeout, as in the recipe. A look without waiting may put the
        # event back too, and a change without a lease would be none.
        lease=2 * (timeout or settings.default_timeout),
    )


def remembering(settings: Settings) -> Callable[[bytes], PollQuery]:
    """Return `parse_poll` with these settings, for clients that poll again and again.

    Returns:
        A function that remembers the meaning of the latest short queries.
    """

    def parse(query: bytes) -> PollQuery:
        if len(query) > _REMEMBERED_BYTES:
            return parse_poll(query, settings)
        return remembered(query)

    remembered = functools.lru_cache(maxsize=4096)(
        functools.partial(parse_poll, settings=settings)
    )
    return parse


def read_parameters(query: bytes, names: Collection[str]) -> dict[str, str]:
    """Return the parameters with these names; others are none of our business.

    Raises:
        BadParameter: The query is too long, or one of them is given twice or is no
            UTF-8.
    """
    if len(query) > _MAX_QUERY_BYTES:
        raise BadParameter(f"query is longer than {_MAX_QUERY_BYTES} bytes")
    try:
        # Latin-1 keeps each byte as one character until the UTF-8 is checked.
        pairs = parse_qsl(
            query.decode("latin-1"),
            keep_blank_values=True,
            encoding="latin-1",
            max_num_fields=_MAX_PARAMETERS,
        )
    except ValueError:
        raise BadParameter(f"query has more than {_MAX_PARAMETERS} fields") from None
    given: dict[str, str] = {}
    for name, value in pairs:
        if name not in names:
            continue
        if name in given:
            raise BadParameter(f"{name} is given more than once")
        given[name] = _utf8(name, value)
    return given


def _utf8(name: str, value: str) -> str:
    try:
        return value.encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:
        raise BadParameter(f"{name} is not UTF-8") from None


def read_key(
    given: Mapping[str, str], name: str, settings: Settings, what: str = "event"
) -> str:
    """Return the parameter that names an event, or `what` else has a key.

    Raises:
        BadParameter: It is empty, absent, too long or reserved.
    """
    value = given.get(name, "")
    if not value:
        raise BadParameter(f"{what} key is empty")
    if len(value.encode()) > settings.max_key_bytes:
        raise BadParameter(f"{name} is longer than {settings.max_key_bytes} bytes")
    if settings.reserves(value):
        raise BadParameter(f"{name} is a name that is reserved")
    return value


def read_timeout(given: Mapping[str, str], settings: Settings) -> float:
    """Return the parameter ``timeout``, within its limits.

    Raises:
        BadParameter: It is no number.
    """
    seconds = read_seconds(given, "timeout")
    return (
        settings.default_timeout
        if seconds is None
        else min(seconds, settings.max_timeout)
    )


def read_seconds(given: Mapping[str, str], name: str) -> float | None:
    """Return a parameter that is a number of seconds, None without one.

    Raises:
        BadParameter: It is no number.
    """
    value = given.get(name, "")
    if not value:
        return None
    if len(value) > _MAX_NUMBER_LENGTH or not _NUMBER.fullmatch(value):
        raise BadParameter(f"{name} is not a number of seconds, 0 or above")
    return float(value)


def _choice(
    given: dict[str, str], name: str, choices: Mapping[str, _Choice]
) -> _Choice:
    value = given.get(name, "")
    if value not in choices:
        words = ", ".join(filter(None, choices))
        raise BadParameter(f"{name} is not one of: {words}")
    return choices[value]
