"""``trioslock value``: types, and exit codes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.trioslock.cli.conftest import Command

from trioslock.cli import main

pytestmark = pytest.mark.slow

TYPES: dict[str, tuple[list[str], object, str]] = {
    "text": (["one word"], "one word", "one word\n"),
    "number": (["-12"], -12, "-12\n"),
    "array": (["a", "b"], ["a", "b"], "a\nb\n"),
    "map": (["a=1", "b=x=y"], {"a": "1", "b": "x=y"}, "a=1\nb=x=y\n"),
}


@pytest.mark.parametrize("kind", TYPES)
def test_a_value_comes_back_as_it_was_set(
    kind: str, command: Command, as_json: Callable[..., Any], key: str
) -> None:
    words, value, printed = TYPES[kind]
    assert command("value", "set", "--ttl", "60", "--type", kind, key, *words) == (
        0,
        "",
    )
    assert command("value", "get", key) == (0, printed)
    assert as_json("value", "get", key)["data"] == {"type": kind, "value": value}
    assert as_json("value", "set", key, "x")["before"]["value"] == value
    assert as_json("value", "unset", key)["before"]["value"] == "x"


def test_no_value_is_code_1(
    command: Command, as_json: Callable[..., Any], key: str
) -> None:
    """To remove what is not there is no failure."""
    assert command("value", "get", key) == (1, "")
    assert as_json("value", "get", key) == {"key": key, "data": None}
    assert command("value", "unset", key) == (0, "")


def test_increments_print_the_sum(
    command: Command, as_json: Callable[..., Any], key: str
) -> None:
    assert command("value", "incr", key) == (0, "1\n")
    assert command("value", "incr", key, "-5") == (0, "-4\n")
    assert as_json("value", "incr", key, "10") == {"key": key, "number": 6}
    command("value", "unset", key)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["two", "words"], "only an array or a map"),
        (["--type", "number", "x"], "'x'"),
        (["--type", "map", "x"], "not NAME=TEXT"),
    ],
)
def test_a_value_of_another_type_is_a_usage_error(
    words: list[str],
    reason: str,
    slock_server: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["value", "set", "--url", slock_server.url, "k", *words]) == 2
    assert reason in capsys.readouterr().err
