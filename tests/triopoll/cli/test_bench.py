"""``triopoll bench`` against a service in this process: its figures, and its ends."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.services import find_free_port
from tests.triopoll.cli.conftest import Command

Server = Any


@pytest.fixture(autouse=True)
def credential(monkeypatch: pytest.MonkeyPatch, triopoll_server: Server) -> None:
    monkeypatch.setenv("TRIOPOLL_CLIENT_URL", triopoll_server.url)
    monkeypatch.setenv("TRIOPOLL_CLIENT_API_KEY", triopoll_server.api_key)


@pytest.mark.slow
def test_figures(command: Command, triopoll_server: Server) -> None:
    """They are in order, and count what was asked for."""
    words = ("bench", "--waits", "3", "--rounds", "1", "--json", triopoll_server.url)
    code, output, errors = command(*words)
    assert (code, errors) == (0, "")
    figures = json.loads(output)
    assert figures["waits"] == figures["samples"] == figures["published"] == 3
    wakes = [figures[f"wake_{name}"] for name in ("median", "99", "most")]
    assert 0 < wakes[0] <= wakes[1] <= wakes[2]
    assert figures["fan_out_median"] > 0
    assert figures["published_per_second"] > 0


@pytest.mark.slow
def test_plain_lines(command: Command) -> None:
    """One for each kind of figure; a single wait is enough."""
    code, output, _ = command("bench", "--waits", "1", "--rounds", "1")
    assert code == 0
    first, second, third = output.splitlines()
    assert first.startswith("1 waits on keys of their own, woken one by one: median ")
    assert second.startswith("1 waits on one key: all woken within ")
    assert third.startswith("publishing over 10 connections: ")


def test_a_key_that_is_not_accepted(
    monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    """One line, whatever waits at that moment."""
    monkeypatch.setenv("TRIOPOLL_CLIENT_API_KEY", "another")
    code, output, errors = command("bench", "--waits", "2")
    assert (code, output) == (74, "")
    assert "401" in errors


def test_nothing_listens(command: Command) -> None:
    url = f"http://127.0.0.1:{find_free_port()}"
    code, _, errors = command("bench", "--timeout", "0.2", url)
    assert code == 74
    assert errors.splitlines()[-1] == "triopoll: it took longer than 0.2 s"
