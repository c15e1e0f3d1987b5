"""Read the query string of a poll: bytes to a frozen dataclass, or a sentence.

A query is hostile until it has been read here: nothing is guessed, cut or taken from
the first of two values, because what a poll waits for must be what its author meant.
Parameters that are not ours are let through (front ends add ``_=<time>`` to get
around caches).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TypeVar

from ...asgi.query import BadQuery, Query, is_utf8, read_number
from ...core.poll_query import Default, PollQuery
from ...settings import Settings, is_internal

__all__ = [
    "BadParameter",
    "parse_poll",
    "read_key",
    "read_parameters",
    "read_seconds",
    "read_timeout",
]

# Far above what a long key, percent-encoded, needs.
_MAX_QUERY_BYTES = 8192
_MAX_PARAMETERS = 32
_PARAMETERS = ("event", "default_type", "wait_type", "timeout")

_Choice = TypeVar("_Choice")

# An empty value is the default, which is what an absent parameter means as well.
_DEFAULTS: dict[str, Default] = {"": "clear", "clear": "clear", "set": "set"}
_RESETS = {"": False, "reset": True}


class BadParameter(BadQuery):
    """A parameter cannot be used; the message is a sentence that names it."""


def parse_poll(query: Query, settings: Settings) -> PollQuery:
    """Read the parameters of ``/poll/event`` and ``/poll/message``.

    Args:
        query: The parsed query string.
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


def read_parameters(query: Query, names: Collection[str]) -> dict[str, str]:
    """Return the parameters with these names; others are ignored.

    Raises:
        BadParameter: The query is too long, or one of them is given twice or is not
            UTF-8.
    """
    if len(query.raw) > _MAX_QUERY_BYTES:
        raise BadParameter(f"query is longer than {_MAX_QUERY_BYTES} bytes")
    if len(query.pairs) > _MAX_PARAMETERS:
        raise BadParameter(f"query has more than {_MAX_PARAMETERS} fields")
    given: dict[str, str] = {}
    for name, value in query.pairs:
        if name not in names:
            continue
        if name in given:
            raise BadParameter(f"{name} is given more than once")
        if not is_utf8(value):
            raise BadParameter(f"{name} is not UTF-8")
        given[name] = value
    return given


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
    if settings.reserves(value) or is_internal(value):
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
    seconds = read_number(value)
    if seconds is None:
        raise BadParameter(f"{name} is not a number of seconds, 0 or above")
    return float(seconds)


def _choice(
    given: dict[str, str], name: str, choices: Mapping[str, _Choice]
) -> _Choice:
    value = given.get(name, "")
    if value not in choices:
        words = ", ".join(filter(None, choices))
        raise BadParameter(f"{name} is not one of: {words}")
    return choices[value]
