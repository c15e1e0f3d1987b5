"""``trioslock serve``: one line when it is ready, and an orderly end."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.trioslock.server.programs import serving
from tests.trioslock.server.world import request

from trioslock.cli import main
from trioslock.cli._serve import LIMITS
from trioslock.engine import EngineLimits
from trioslock.server import DEFAULT_PORT, ServerLimits

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_after_a_second(signum: signal.Signals) -> None:
    """No new connection is accepted; open ones go on for about a second."""
    with serving() as (process, address):
        with socket.create_connection(address, timeout=5) as client:
            client.sendall(request("PING"))
            assert client.recv(100) == b"+PONG\r\n"
            process.send_signal(signum)
            begin = time.monotonic()
            time.sleep(0.4)
            client.sendall(request("ECHO", "still here"))
            assert client.recv(100) == b"$10\r\nstill here\r\n"
            with pytest.raises(OSError, match="refused"):
                socket.create_connection(address, timeout=5)
            assert client.recv(100) == b""
            assert 0.8 < time.monotonic() - begin < 3
        assert process.wait(10) == 0


def test_shutdown_ends_it() -> None:
    """The text command does what SIGTERM does."""
    with serving() as (process, address):
        with socket.create_connection(address, timeout=5) as client:
            client.sendall(request("SHUTDOWN"))
            assert client.recv(100) == b"+OK\r\n"
            assert client.recv(100) == b""
        assert process.wait(10) == 0


def test_limits_are_options() -> None:
    """A connection and a key too many are refused."""
    options = ("--max-connections", "1", "--max-keys", "1")
    with serving(*options) as (_, address):
        with (
            socket.create_connection(address, timeout=5) as client,
            client.makefile("rb") as lines,
        ):
            client.sendall(request("SET", "a", "1") + request("SET", "b", "1"))
            assert lines.readline() == b"+OK\r\n"
            assert lines.readline() == b"-ERR 11\r\n"
            with socket.create_connection(address, timeout=5) as second:
                assert second.recv(100) == b""


def test_an_address_in_use_is_an_error() -> None:
    """Code 1 and one line, no traceback."""
    with serving() as (_, (host, port)):
        command = [sys.executable, "-m", "trioslock", "serve", "--host", host]
        done = subprocess.run(
            [*command, "--port", str(port)],
            check=False,
            capture_output=True,
            text=True,
            timeout=20,
        )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("trioslock: ")
    assert len(done.stderr.splitlines()) == 1
    assert f"cannot listen on {host}:{port}: Address already in use" in done.stderr


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["serve", "--port", "x"], "'x' is not a whole number from 0 to 65535"),
        (["serve", "--port", "99999"], "'99999' is not a whole number from 0 to 65535"),
        (["serve", "--port", "\u0661"], "is not a whole number from 0 to 65535"),
        (["serve", "--max-keys", "0"], "'0' is not a whole number from 1 on"),
    ],
)
def test_a_wrong_command_line_is_refused_with_a_sentence(
    words: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Code 2, the usage, and what is accepted instead."""
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert "usage: trioslock" in error
    assert reason in error


def test_help_names_defaults_and_no_more(capsys: pytest.CaptureFixture[str]) -> None:
    """No default is None or False, and --data is said to keep what is held."""
    with pytest.raises(SystemExit) as caught:
        main(["serve", "--help"])
    assert caught.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert f"(default: {DEFAULT_PORT})" in text
    assert "None" not in text
    assert "False" not in text
    assert "Without --data, locks are kept in memory only" in text


def test_a_storage_that_cannot_be_used_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Code 1 and one line that names the file."""
    file = tmp_path / "file"
    file.touch()
    assert main(["serve", "--port", "0", "--data", str(file)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("trioslock: ")
    assert str(file) in line


def test_the_limits_are_those_of_the_server_and_the_engine() -> None:
    """They are written down twice, so that other commands need not import them."""
    server, engine = ServerLimits(), EngineLimits()
    assert {name: default for name, default, _ in LIMITS} == {
        "connections": server.connections,
        "output-bytes": server.output_bytes,
        "keys": engine.keys,
        "waiters": engine.waiters,
        "data-bytes": engine.data_size,
    }
