"""Servers for the commands: those of `trioslock.testing`, or a real slock."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from trioslock.cli import main
from trioslock.testing import SlockServer, open_slock_server

Command = Callable[..., tuple[int, str]]
"""Runs a command; returns its exit code and what it printed."""


@pytest.fixture(scope="module")
def slock() -> Iterator[SlockServer]:
    """A server for all tests of one file."""
    with open_slock_server() as server:
        yield server


@pytest.fixture(params=["thread", pytest.param("live", marks=pytest.mark.live)])
def url(request: pytest.FixtureRequest) -> str:
    if request.param == "live":
        host, port = request.getfixturevalue("slock_address")
        return f"slock://{host}:{port}/7"
    server: SlockServer = request.getfixturevalue("slock_server")
    return f"{server.url}/7"


@pytest.fixture
def key() -> str:
    """A key that no other test has: a real server keeps them."""
    return f"cli {secrets.token_hex(3)}"


@pytest.fixture
def command(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    monkeypatch.setenv("TRIOSLOCK_URL", url)

    def run(*words: str) -> tuple[int, str]:
        code = main(words)
        return code, capsys.readouterr().out

    return run


@pytest.fixture
def as_json(command: Command) -> Callable[..., Any]:
    """Runs a command with --json; returns its last line, read."""

    def run(*words: str) -> Any:
        return json.loads(command(*words, "--json")[1].splitlines()[-1])

    return run
