"""What the tests of the commands share: a command that is run in this process."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any, TypeAlias

import pytest

from triopoll.__main__ import main

Command: TypeAlias = Callable[..., tuple[int, str, str]]
"""Runs a command; returns its exit code, and what it has printed on stdout, stderr."""


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin with an environment that has none of our variables."""
    for name in list(os.environ):
        if name.startswith("TRIOPOLL_"):
            monkeypatch.delenv(name)


@pytest.fixture
def command(capfd: pytest.CaptureFixture[str]) -> Command:
    """Return what runs a command."""

    def run(*words: str) -> tuple[int, str, str]:
        code = main(words)
        output = capfd.readouterr()
        return code, output.out, output.err

    return run


@pytest.fixture
def as_json(command: Command) -> Callable[..., tuple[int, list[dict[str, Any]]]]:
    """Return what runs a command with --json and reads each of its lines."""

    def run(*words: str) -> tuple[int, list[dict[str, Any]]]:
        code, output, _ = command(*words, "--json")
        return code, [json.loads(line) for line in output.splitlines()]

    return run
