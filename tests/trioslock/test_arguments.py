from __future__ import annotations

import re
from collections.abc import Callable
from math import inf, nan
from typing import Any

import pytest

from trioslock._arguments import (
    check_bool,
    check_choice,
    check_int,
    check_seconds,
    check_type,
    shown,
)

WORDS = ("n", "a", "b")


@pytest.mark.parametrize("value", [1, 3])
def test_a_number_in_its_range_is_returned(value: int) -> None:
    assert check_int(value, "n", 1, 3) == value


@pytest.mark.parametrize(
    ("check", "value", "error"),
    [
        (lambda v: check_int(v, "n", 1, 3), 0, "n must be 1 to 3, not 0"),
        (lambda v: check_int(v, "n", 1, 3), 4, "n must be 1 to 3, not 4"),
        (lambda v: check_int(v, "n", 1), 0, "n must be at least 1, not 0"),
        (lambda v: check_seconds(v, "n"), 0, "n must be above 0 seconds, not 0"),
        (lambda v: check_seconds(v, "n"), nan, "n must be above 0 seconds, not nan"),
        (
            lambda v: check_seconds(v, "n", zero=True),
            -0.5,
            "n must be at least 0 seconds, not -0.5",
        ),
        (
            lambda v: check_seconds(v, "n"),
            inf,
            "n must be a finite time, not inf seconds",
        ),
        (
            lambda v: check_seconds(v, "n", forever=True),
            1e16,
            "n must be a finite time, not 1e+16 seconds",
        ),
        (
            lambda v: check_choice(v, *WORDS),
            "c",
            "n must be 'a' or 'b', not 'c'",
        ),
        (lambda v: check_choice(v, *WORDS), [], "n must be 'a' or 'b', not []"),
    ],
)
def test_a_wrong_value_is_a_value_error(
    check: Callable[[Any], Any], value: object, error: str
) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(error)}$"):
        check(value)


@pytest.mark.parametrize(
    ("check", "value", "error"),
    [
        (lambda v: check_int(v, "n", 1), True, "n must be a whole number, not True"),
        (lambda v: check_int(v, "n", 1), 2.0, "n must be a whole number, not 2.0"),
        (
            lambda v: check_seconds(v, "n"),
            "1",
            "n must be a number of seconds, not '1'",
        ),
        (
            lambda v: check_seconds(v, "n"),
            True,
            "n must be a number of seconds, not True",
        ),
        (lambda v: check_bool(v, "n"), 1, "n must be True or False, not 1"),
        (lambda v: check_type(v, str, "n", "text"), b"", "n must be text, not b''"),
    ],
)
def test_a_wrong_type_is_a_type_error(
    check: Callable[[Any], Any], value: object, error: str
) -> None:
    with pytest.raises(TypeError, match=f"^{re.escape(error)}$"):
        check(value)


def test_what_is_allowed_is_returned() -> None:
    assert check_seconds(0, "n", zero=True) == 0
    assert check_seconds(inf, "n", forever=True) == inf
    assert check_seconds(2.5, "n") == 2.5
    assert check_bool(False, "n") is False
    assert check_choice("b", "n", "a", "b") == "b"
    assert check_type(None, type(None), "n", "None") is None


def test_what_was_given_is_shown_on_one_short_line() -> None:
    assert shown("a\nb") == r"'a\nb'"
    assert shown("x" * 1000) == f"'{'x' * 79}..."
    assert shown(10**5000) == "a number of 16610 bits"
