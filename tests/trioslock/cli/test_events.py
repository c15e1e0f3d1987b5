"""``trioslock event``: its exit codes, and what a wait prints."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.trioslock.cli.conftest import Command

pytestmark = pytest.mark.slow


def test_a_wait_prints_the_value_of_an_event_that_is_set(
    command: Command, as_json: Callable[..., Any], key: str
) -> None:
    assert as_json("event", "set", key, "--data", "v1", "--ttl", "60") == {
        "key": key,
        "set": True,
    }
    assert command("event", "wait", key) == (0, "v1\n")
    found = as_json("event", "wait", key)
    assert found["data"] == {"type": "text", "value": "v1"}
    assert command("event", "clear", key) == (0, "")


def test_a_wait_that_times_out_is_code_1(
    command: Command, as_json: Callable[..., Any], key: str
) -> None:
    assert command("event", "wait", key, "-w", "0.05") == (1, "")
    found = as_json("event", "wait", key, "-w", "0.05")
    assert found == {"key": key, "set": False, "data": None}


def test_an_event_that_is_set_by_default(command: Command, key: str) -> None:
    default = ("--default", "set")
    assert command("event", "wait", key, *default) == (0, "")
    assert command("event", "clear", key, *default) == (0, "")
    assert command("event", "wait", key, *default, "-w", "0.05")[0] == 1
    assert command("event", "set", key, *default) == (0, "")
    assert command("event", "wait", key, *default) == (0, "")
