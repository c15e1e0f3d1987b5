"""`triopoll top` against a service in this process."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from tests.services import find_free_port
from tests.triopoll.inprocess import served

from triopoll.__main__ import _parser
from triopoll.access import entry_for
from triopoll.cli import top
from triopoll.cli.top import KEY_VARIABLE

KEY = "the-key-of-an-operator"
KEYS = entry_for("olga", KEY, ["*"])


async def run(*words: str) -> int:
    return await top._run(_parser().parse_args(["top", *words]))


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, KEY)


async def test_one_look(capsys: pytest.CaptureFixture[str]) -> None:
    """As text and as JSON."""
    async with served(find_free_port(), admin_keys=KEYS) as (_, running):
        url = f"http://127.0.0.1:{running.port}"
        assert await run("--url", url, "--once") == 0
        assert f"{url}: 0 of 16384 waits" in capsys.readouterr().out
        assert await run("--url", url, "--once", "--json") == 0
        assert json.loads(capsys.readouterr().out)["waits"]["total"] == 0


async def test_the_key_of_a_file(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Its first line; without a key nothing is asked."""
    file = tmp_path / "key"
    file.write_text(f"{KEY}\nanything\n")
    monkeypatch.delenv(KEY_VARIABLE)
    async with served(find_free_port(), admin_keys=KEYS) as (_, running):
        url = f"http://127.0.0.1:{running.port}"
        assert await run("--url", url, "--once", "--admin-key-file", str(file)) == 0
    assert await run("--once") == 2
    assert (
        capsys.readouterr().err
        == f"triopoll: {KEY_VARIABLE} has no key of an operator\n"
    )
    for content in (b"", b"\n", "ключ".encode(), b"a\x07b"):
        file.write_bytes(content)
        assert await run("--once", "--admin-key-file", str(file)) == 2
    assert await run("--once", "--admin-key-file", str(tmp_path / "none")) == 2


async def test_a_service_that_refuses(capsys: pytest.CaptureFixture[str]) -> None:
    """The page is off, or the key is another one: asking again does not help."""
    for keys, reason in (
        ("", "the admin API is off"),
        (entry_for("a", "b", ["*"]), "the key is not one of an operator"),
    ):
        async with served(find_free_port(), admin_keys=keys) as (_, running):
            url = f"http://127.0.0.1:{running.port}"
            assert await run("--url", url) == 2
        assert capsys.readouterr().err == f"triopoll: {url}: {reason}\n"


async def test_a_service_that_is_away(capsys: pytest.CaptureFixture[str]) -> None:
    """It is named; a URL that is none is an error of the command line."""
    url = f"http://127.0.0.1:{find_free_port()}"
    assert await run("--url", url, "--once") == 74
    assert f"triopoll: {url} does not answer" in capsys.readouterr().err
    assert await run("--url", "ftp://h", "--once") == 2


class Connection:
    """Answers with what it is given, then the service refuses."""

    def __init__(self, answers: Iterator[tuple[int, bytes]]) -> None:
        self.answers = answers

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()

    async def request(self, *_args: object, **_words: object) -> Any:
        await trio.lowlevel.checkpoint()
        status, body = next(self.answers, (401, b""))
        return type("Response", (), {"status": status, "body": body})


@pytest.mark.parametrize("as_json", [False, True])
async def test_what_fails_is_asked_again(
    as_json: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A line says what came instead of an overview."""
    answers = iter([(502, b""), (200, b"<html>"), (200, b"[]")])
    monkeypatch.setattr(top, "HttpConnection", lambda site: Connection(answers))
    words = ["--json"] if as_json else []
    assert await run("--url", "http://h", *words) == 2
    lines = capsys.readouterr().out.splitlines()
    if as_json:
        lines = [json.loads(line).get("error") for line in lines if line != "[]"]
    assert lines[:2] == [
        "http://h: HTTP 502",
        "http://h has answered something else than JSON",
    ]
    if not as_json:
        assert lines[2:] == ["http://h has answered something else than an overview"]
    assert trio.current_time() == 6


class Terminal(io.TextIOWrapper):
    def isatty(self) -> bool:
        return True


async def test_a_terminal_is_drawn_again(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    """On a screen of its own, cut to its size; a bar that it lacks is replaced."""
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", Terminal(raw, encoding="ascii"))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "10")
    monkeypatch.setenv("LINES", "3")
    monkeypatch.setattr(top, "lines_of", lambda *_args: ["x" * 20, "▁", "third"])
    answers = iter([(200, b"{}"), (200, b"{}")])
    monkeypatch.setattr(top, "HttpConnection", lambda site: Connection(answers))
    assert await run("--url", "http://h") == 2
    frame = "\x1b[H" + "x" * 10 + "\x1b[K\n?\x1b[K\n\x1b[J\n"
    expected = "\x1b[?1049h\x1b[?25l" + 2 * frame + "\x1b[?25h\x1b[?1049l"
    assert raw.getvalue().decode() == expected
