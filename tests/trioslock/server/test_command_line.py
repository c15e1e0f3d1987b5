"""``trioslock serve``: one line when it is ready, and an orderly end."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time

import pytest
from tests.trioslock.server.programs import serving
from tests.trioslock.server.world import request

from trioslock.__main__ import main

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_after_a_second(signum: signal.Signals) -> None:
    """Nobody new is accepted; open connections go on for about a second."""
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


@pytest.mark.parametrize(
    "words", [[], ["serve", "--port", "x"], ["serve", "--max-keys", "0"], ["fly"]]
)
def test_bad_words_explain_themselves(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Code 2 and the usage, as of any program."""
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    assert "usage: trioslock" in capsys.readouterr().err
