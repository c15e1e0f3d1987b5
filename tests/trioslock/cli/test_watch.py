"""``trioslock watch``: in pipes, on terminals, and while the server is away."""

from __future__ import annotations

import argparse
import json
import os
import pty
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager

import pytest
import trio
from tests.trioslock.cli.conftest import Command

from trioslock import Client
from trioslock.cli import _watch as watch
from trioslock.cli import main
from trioslock.cli._snapshot import Snapshot
from trioslock.testing import SlockServer, open_network

pytestmark = pytest.mark.slow

WATCH = [sys.executable, "-m", "trioslock", "watch", "-i", "0.05"]


def test_in_a_pipe_it_is_plain_lines(command: Command, key: str) -> None:
    command("value", "set", "--ttl", "60", key, "x")
    code, text = command("watch", "-c", "2", "-i", "0.01")
    assert code == 0
    assert "\x1b" not in text
    assert text.count("grants/s") == 2
    assert key in text
    assert "holds" in command("watch", "-c", "1", key)[1]


def test_json_is_an_object_a_line(command: Command, key: str) -> None:
    command("value", "set", "--ttl", "60", key, "x")
    lines = command("watch", "-c", "2", "-i", "0.01", "--json")[1].splitlines()
    found = [json.loads(line) for line in lines]
    assert len(found) == 2
    assert found[0]["databases"]["7"]["per_second"]["grants"] is None
    assert found[1]["databases"]["7"]["per_second"]["grants"] is not None


def test_a_server_that_is_not_there_at_the_start_is_code_74(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["watch", "--url", "slock://127.0.0.1:1"]) == 74
    assert len(capsys.readouterr().err.splitlines()) == 1


async def test_a_server_that_goes_and_comes_back_is_followed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    errors: list[str | None] = []
    options = argparse.Namespace(
        url="slock://a", rows=1, key=None, count=None, interval=1.0
    )
    async with open_network() as network, network.open_client() as client:

        def output(now: Snapshot, _before: Snapshot | None) -> None:
            errors.append(now.error)
            if len(errors) == 1:
                network.down()
            elif now.error is not None:
                network.up()
            else:
                scope.cancel()

        with trio.CancelScope() as scope:
            await watch._follow(client, options, output)
    assert (errors[0], errors[-1]) == (None, None)
    assert any(errors)


def test_a_reader_that_goes_ends_it_quietly(slock_server: SlockServer) -> None:
    words = [*WATCH, "--json", "--url", slock_server.url]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(20) == 141
        assert process.stderr.read() == ""


async def test_a_silent_server_is_an_error_after_its_time(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    async def never(*_: object) -> None:
        await trio.sleep_forever()

    async def failed(_: Client, several: bool, error: str) -> str:
        return error

    monkeypatch.setattr(watch, "take", never)
    monkeypatch.setattr(watch, "failed", failed)
    options = argparse.Namespace(rows=1, key=None)
    found = await watch._snapshot(None, False, options)  # type: ignore[arg-type]
    assert found == "no answer in 5 s"


@contextmanager
def on_terminal(url: str, **environment: str) -> Generator[tuple[int, int]]:
    """Run it on a terminal of its own; give the other end."""
    child, terminal = pty.fork()
    if not child:  # pragma: no cover
        os.environ.update({"TERM": "xterm", "COLUMNS": "80", "LINES": "20"})
        os.environ.update(environment)
        os.execv(WATCH[0], [*WATCH, "--url", url])
    yield terminal, child
    os.close(terminal)


def read_until(terminal: int, wanted: bytes) -> bytes:
    seen = b""
    ends_at = time.monotonic() + 20
    while wanted not in seen and time.monotonic() < ends_at:
        seen += os.read(terminal, 4096)
    return seen


def end(child: int, terminal: int) -> tuple[int, bytes]:
    """Wait for its end, reading what it prints."""
    seen = b""
    try:
        while part := os.read(terminal, 4096):
            seen += part
    except OSError:  # Linux: the other end is closed
        pass
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), seen


@pytest.mark.parametrize(("typed", "code"), [(b"q", 0), (b"Q", 0), (b"\x03", 130)])
def test_on_a_terminal_q_or_ctrl_c_ends_it_quietly(
    typed: bytes, code: int, slock_server: SlockServer
) -> None:
    with on_terminal(slock_server.url) as (terminal, child):
        assert b"\x1b[?1049h" in read_until(terminal, b"q ends it")
        os.write(terminal, b"x")
        os.write(terminal, typed)
        found, rest = end(child, terminal)
    assert found == code
    assert b"\x1b[?1049l" in rest
    assert b"Traceback" not in rest


def test_no_color_and_dumb_terminals_are_respected(slock_server: SlockServer) -> None:
    for environment, drawn in (({"NO_COLOR": "1"}, True), ({"TERM": "dumb"}, False)):
        with on_terminal(slock_server.url, **environment) as (terminal, child):
            seen = read_until(terminal, b"waiting")
            os.write(terminal, b"q")
            code, rest = end(child, terminal)
        assert code == 0
        assert (b"\x1b[?1049h" in seen) == drawn
        assert b"[1;36m" not in seen + rest
        assert b"[31m" not in seen + rest


def test_without_the_extra_it_is_lines_and_a_sentence(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    slock_server: SlockServer,
) -> None:
    monkeypatch.setitem(sys.modules, "trioslock.cli._screen", None)
    monkeypatch.setattr(watch, "_draws", lambda: True)
    assert main(["watch", "-c", "1", "--url", slock_server.url]) == 0
    printed = capsys.readouterr()
    assert "0 held" in printed.out
    assert "trioslock[cli]" in printed.err


def test_a_terminal_of_another_session_is_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for end_of_it in pty.openpty():
        with open(end_of_it, "rb", buffering=0) as stdin:
            monkeypatch.setattr(sys, "stdin", stdin)
            monkeypatch.setattr(sys, "stdout", stdin)
            with watch._keys_of_terminal() as found:
                assert found is None
