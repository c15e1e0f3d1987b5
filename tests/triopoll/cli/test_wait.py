"""``triopoll wait`` against a service in this process."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import Any

import pytest
import trio
from tests.services import find_free_port
from tests.triopoll.cli.conftest import Command
from tests.triopoll.support import eventually

from triopoll.__main__ import _parser
from triopoll.cli import wait
from triopoll.cli.wait import _show_gap
from triopoll.client import Gap

Server = Any


pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def service(monkeypatch: pytest.MonkeyPatch, triopoll_server: Server) -> Server:
    monkeypatch.setenv("TRIOPOLL_CLIENT_URL", triopoll_server.url)
    monkeypatch.setenv("TRIOPOLL_CLIENT_API_KEY", triopoll_server.api_key)
    return triopoll_server


def test_no_message(command: Command) -> None:
    """The time is over, and nothing printed."""
    words = ("wait", "k", "--cursor", "all", "--timeout", "0.2")
    assert command(*words) == (1, "", "")


@pytest.mark.parametrize("cursor", ["all", "id"])
def test_one_message(service: Server, command: Command, cursor: str) -> None:
    """The first behind the cursor, as a line."""
    first = service.publish("k", "0")["id"]
    service.publish("k", "1")
    service.publish("k", "2")
    words = ("wait", "k", "--cursor", first if cursor == "id" else "all")
    assert command(*words) == (0, "0\n" if cursor == "all" else "1\n", "")


def test_messages_as_json(service: Server, command: Command) -> None:
    """The id of one is the cursor for the next."""
    values = ["a\nb", {"n": 1}]
    sent = [service.publish("k", value)["id"] for value in values]
    # A byte that is not UTF-8.
    sent.append(command("publish", "k", "\udcff")[1].strip())
    cursor, found = "all", []
    for _ in sent:
        code, output, _ = command("wait", "k", "--cursor", cursor, "--once", "--json")
        assert code == 0
        found.append(json.loads(output))
        cursor = found[-1]["id"]
    assert [each.get("data") for each in found] == [*values, None]
    assert found[-1]["data_base64"] == "/w=="
    assert [each["id"] for each in found] == sent
    assert all(each["ts"] > 0 for each in found)


@pytest.mark.triopoll(log_max_messages=1)
@pytest.mark.parametrize("as_json", [False, True])
def test_a_gap(service: Server, command: Command, as_json: bool) -> None:
    """What is gone is said, and what is left is printed."""
    first, *_ = [service.publish("k", text)["id"] for text in ("1", "2", "3")]
    words = ["--json"] if as_json else []
    code, output, errors = command("wait", "k", "--cursor", first, *words)
    assert code == 0
    if as_json:
        gap, message = map(json.loads, output.splitlines())
        assert (gap, message["data"]) == ({"gap": {"lost": 1}}, "3")
    else:
        assert output == "3\n"
        assert errors == "triopoll: 1 messages of 'k' are gone\n"


def test_a_gap_of_unknown_size(capsys: pytest.CaptureFixture[str]) -> None:
    _show_gap(Gap(None), "k", as_json=False)
    assert "an unknown number of messages" in capsys.readouterr().err


def test_a_cursor_that_is_none(command: Command) -> None:
    """It is refused at once."""
    code, output, errors = command("wait", "k", "--cursor", "?")
    assert (code, output) == (74, "")
    assert "400" in errors


async def test_follow(service: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each message is printed as it comes."""
    lines: list[bytes] = []
    monkeypatch.setattr(wait, "show_bytes", lines.extend)
    options = _parser().parse_args(["wait", "k", "--cursor", "all", "--follow"])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait._run, options)
        for text in ("1", "2", "3"):
            await trio.to_thread.run_sync(service.publish, "k", text)
            await eventually(lambda text=text: text.encode() in lines, limit=30)
        nursery.cancel_scope.cancel()
    assert lines == [b"1", b"2", b"3"]


@pytest.mark.long
def test_messages_that_come_later(service: Server) -> None:
    """In a process of its own, line by line; a Ctrl-C ends it without a word."""
    words = [sys.executable, "-m", "triopoll", "wait", "k", "--follow"]
    process = subprocess.Popen(
        [*words, "--cursor", "all"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        for text in ("1", "2", "3"):
            service.publish("k", text)
            assert process.stdout is not None
            assert process.stdout.readline() == f"{text}\n"
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=60) == ("", "")
        assert process.returncode == 130
    finally:
        process.kill()


def test_nothing_listens(command: Command) -> None:
    """The reason is the last line."""
    url = f"http://127.0.0.1:{find_free_port()}"
    code, output, errors = command("wait", "k", "--url", url, "--timeout", "0.2")
    assert (code, output) == (74, "")
    assert errors.splitlines()[-1].startswith("triopoll: ")


def test_once_and_follow_exclude_each_other(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from triopoll.__main__ import main

    with pytest.raises(SystemExit):
        main(["wait", "k", "--once", "--follow"])
    assert "not allowed with" in capsys.readouterr().err
