"""``triopoll check``: what it reads, prints and returns."""

from __future__ import annotations

import logging
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.services import RedisServer, find_free_port
from tests.triopoll.cli.conftest import Command

Json = Callable[..., tuple[int, list[dict[str, Any]]]]


pytestmark = pytest.mark.slow


@pytest.fixture
def words(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The command, with addresses that are free."""
    monkeypatch.setenv("TRIOPOLL_SLOCK_URL", f"embedded://127.0.0.1:{find_free_port()}")
    return ["check", "--bind", f"127.0.0.1:{find_free_port()}"]


def test_a_first_try_has_warnings_only(words: list[str], command: Command) -> None:
    """They do not make the exit code."""
    code, output, errors = command(*words)
    assert (code, errors) == (0, "")
    lines = output.splitlines()
    assert any(line.startswith("warning  redis: messages are in") for line in lines)
    assert not any(line.startswith("wrong") for line in lines)


def test_real_servers(
    monkeypatch: pytest.MonkeyPatch,
    slock_server: Any,
    redis_server: RedisServer,
    as_json: Json,
) -> None:
    """With workers, and with all options that serve has."""
    monkeypatch.setenv("TRIOPOLL_SLOCK_URL", slock_server.url)
    monkeypatch.setenv("TRIOPOLL_REDIS_URL", redis_server.url)
    monkeypatch.setenv("TRIOPOLL_LIST_PREFIX", "poll:")
    bind = f"127.0.0.1:{find_free_port()}"
    code, found = as_json("check", "--bind", bind, "--workers", "2", "--access-log")
    assert code == 0
    checks = {each["check"]: each["verdict"] for each in found}
    assert checks[f"address {bind}"] == "right"
    assert checks["slock locks"] == "right"
    assert checks[f"redis 127.0.0.1:{redis_server.port} rights"] == "right"


def test_nothing_answers(
    monkeypatch: pytest.MonkeyPatch, words: list[str], command: Command
) -> None:
    """Both are named, the code is 1, and nothing is logged or traced."""
    monkeypatch.setenv("TRIOPOLL_SLOCK_URL", "slock://127.0.0.1:1")
    monkeypatch.setenv("TRIOPOLL_REDIS_URL", "redis://app:hidden@127.0.0.1:1")
    code, output, errors = command(*words)
    assert (code, errors) == (1, "")
    wrong = [line for line in output.splitlines() if line.startswith("wrong")]
    assert [line.split(": ")[0] for line in wrong] == [
        "wrong    slock 127.0.0.1:1",
        "wrong    redis 127.0.0.1:1",
    ]
    assert "hidden" not in output
    assert logging.root.manager.disable == logging.NOTSET


@pytest.mark.parametrize(
    ("name", "value"),
    [("TRIOPOLL_MAX_WATS", "1"), ("TRIOPOLL_TICKET_SECRETS", "too short")],
)
def test_settings_that_cannot_be_used(
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    as_json: Json,
    name: str,
    value: str,
) -> None:
    """Nothing else is checked."""
    monkeypatch.setenv(name, value)
    code, found = as_json(*words)
    assert code == 1
    assert (found[-1]["check"], found[-1]["verdict"]) == ("settings", "wrong")
    assert name in found[-1]["text"]


def test_an_application_that_cannot_be_imported(as_json: Json) -> None:
    code, (finding,) = as_json("check", "nowhere_to_be_found:app")
    assert code == 1
    assert "nowhere_to_be_found" in finding["text"]


def test_the_settings_of_an_application(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], as_json: Json
) -> None:
    """An application that was made with settings is checked with those."""
    (tmp_path / "own_settings.py").write_text(
        "from triopoll import Triopoll\n"
        "from triopoll.settings import Settings\n"
        "app = Triopoll(Settings(redis_url='redis://127.0.0.1:1'))\n"
        "other = print\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert as_json(*words, "own_settings:app")[0] == 1
    assert as_json(*words, "own_settings:other")[0] == 0


def test_a_service_that_runs(
    monkeypatch: pytest.MonkeyPatch, words: list[str], command: Command
) -> None:
    """With --running its addresses are not tried."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
        monkeypatch.setenv("TRIOPOLL_SLOCK_URL", f"embedded://127.0.0.1:{port}")
        assert command(*words)[0] == 1
        assert command(*words, "--running")[0] == 0
