"""Check what callers pass, where it enters.

Each function returns the value that it was given, or raises `TypeError` for a wrong
type and `ValueError` for a wrong value, in one sentence: the argument, what is
accepted, what was given. A wrong argument that gets past this point would show up
later, in another task or on the shared connection.

``bool`` is an ``int`` to Python, but no caller means ``True`` as a number of seconds or
permits; so it is refused where a number is asked for.
"""

from __future__ import annotations

import sys
from math import inf
from typing import TypeGuard, TypeVar

_T = TypeVar("_T")
_SHOWN = 80
_MOST_DIGITS = 10**_SHOWN

# The most seconds that a clock can add up: a larger float has no parts of seconds, and
# a larger int may not even be a float.
LONGEST = 1e15


def check_type(
    value: _T, kind: type | tuple[type, ...], name: str, accepted: str
) -> _T:
    """Return a value of one of some types.

    Args:
        value: What was given.
        kind: The types.
        name: The argument, for the message.
        accepted: What is accepted, in words.

    Raises:
        TypeError: It is of another type.
    """
    if not isinstance(value, kind):
        raise TypeError(f"{name} must be {accepted}, not {shown(value)}")
    return value


def check_bool(value: object, name: str) -> bool:
    """Return ``True`` or ``False``.

    Raises:
        TypeError: It is neither.
    """
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, not {shown(value)}")
    return value


def check_int(value: object, name: str, low: int, high: int | None = None) -> int:
    """Return a whole number.

    Args:
        value: What was given.
        name: The argument, for the message.
        low: The smallest.
        high: The largest; None for any.

    Raises:
        TypeError: It is no ``int``.
        ValueError: It is out of range.
    """
    if not is_int(value):
        raise TypeError(f"{name} must be a whole number, not {shown(value)}")
    if value < low or (high is not None and value > high):
        bounded = high is not None and high < sys.maxsize
        accepted = f"{low} to {high}" if bounded else f"at least {low}"
        raise ValueError(f"{name} must be {accepted}, not {shown(value)}")
    return value


def check_seconds(
    value: object, name: str, *, zero: bool = False, forever: bool = False
) -> float:
    """Return a number of seconds.

    Args:
        value: What was given.
        name: The argument, for the message.
        zero: Whether 0 is accepted.
        forever: Whether ``FOREVER`` is accepted.

    Raises:
        TypeError: It is neither ``int`` nor ``float``.
        ValueError: It is negative, ``nan``, 0 or infinite where that is not accepted.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number of seconds, not {shown(value)}")
    # Negated, so that it is true of nan.
    if not (value >= 0 if zero else value > 0):
        least = "at least" if zero else "above"
        raise ValueError(f"{name} must be {least} 0 seconds, not {shown(value)}")
    if value > LONGEST and not (forever and value == inf):
        raise ValueError(f"{name} must be a finite time, not {shown(value)} seconds")
    return value


def check_choice(value: object, name: str, *choices: str) -> str:
    """Return one of some words.

    Raises:
        ValueError: It is none of them.
    """
    if isinstance(value, str) and value in choices:
        return value
    *others, last = map(repr, choices)
    accepted = f"{', '.join(others)} or {last}"
    raise ValueError(f"{name} must be {accepted}, not {shown(value)}")


def is_int(value: object) -> TypeGuard[int]:
    """Return whether a value is a whole number, which ``True`` is not."""
    return isinstance(value, int) and not isinstance(value, bool)


def shown(value: object) -> str:
    """Return what was given, as an error shows it: its ``repr``, but not endless."""
    # Python refuses to print an int of some thousand digits.
    if isinstance(value, int) and abs(value) >= _MOST_DIGITS:
        return f"a number of {value.bit_length()} bits"
    text = repr(value).replace("\n", " ")
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
