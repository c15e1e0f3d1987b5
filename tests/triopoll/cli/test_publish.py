"""``triopoll publish`` against a service in this process."""

from __future__ import annotations

import io
import json
import sys
from typing import Any

import pytest
from tests.services import find_free_port
from tests.triopoll.cli.conftest import Command

from triopoll.cli import publish

# The fixture of the pytest plugin that the package has.
Server = Any


pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def credential(monkeypatch: pytest.MonkeyPatch, triopoll_server: Server) -> None:
    monkeypatch.setenv("TRIOPOLL_CLIENT_URL", triopoll_server.url)
    monkeypatch.setenv("TRIOPOLL_CLIENT_API_KEY", triopoll_server.api_key)


def standard_input(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def test_an_argument(command: Command, triopoll_server: Server) -> None:
    """The id is printed; the message is text."""
    code, output, errors = command("publish", "k", "héllo")
    assert (code, errors) == (0, "")
    assert len(output.split()) == 1
    assert triopoll_server.messages("k") == ["héllo"]


@pytest.mark.parametrize("words", [[], ["-"]])
def test_standard_input(
    monkeypatch: pytest.MonkeyPatch,
    command: Command,
    triopoll_server: Server,
    words: list[str],
) -> None:
    """As it is, with its end of line; bytes that are no text as well."""
    standard_input(monkeypatch, b"\xff\n")
    assert command("publish", "k", *words)[0] == 0
    page = triopoll_server.request("GET", "/v1/messages?key=k&cursor=all&timeout=0")
    assert [each["data_base64"] for each in page["messages"]] == ["/wo="]


def test_too_much_standard_input(
    monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    monkeypatch.setattr(publish, "_LONGEST", 3)
    standard_input(monkeypatch, b"1234")
    code, _, errors = command("publish", "k")
    assert code == 2
    assert errors == "triopoll: standard input has more than 3 bytes\n"


def test_a_name_is_stored_once(command: Command) -> None:
    answers = [
        json.loads(command("publish", "k", "x", "--id", "a", "--json")[1])
        for _ in range(2)
    ]
    assert [answer["duplicate"] for answer in answers] == [False, True]
    assert answers[0]["id"] == answers[1]["id"]


def test_a_key_that_is_not_accepted(
    monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    """It is refused in one line, at once."""
    monkeypatch.setenv("TRIOPOLL_CLIENT_API_KEY", "another")
    code, output, errors = command("publish", "k", "x")
    assert (code, output) == (74, "")
    assert "another" not in errors
    assert "401" in errors.splitlines()[-1]


def test_nothing_listens(command: Command) -> None:
    """It is repeated until the time is over."""
    url = f"http://127.0.0.1:{find_free_port()}"
    code, _, errors = command("publish", "k", "x", "--url", url, "--timeout", "0.2")
    assert code == 74
    assert "no answer within 0.2 s: the message may be stored" in errors


def test_a_url_that_is_none(command: Command) -> None:
    code, _, errors = command("publish", "k", "x", "--url", "ftp://a")
    assert code == 2
    assert len(errors.splitlines()) == 1
