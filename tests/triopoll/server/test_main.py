"""The command line: what it starts, what it refuses, and its exit codes."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.services import find_free_port
from tests.triopoll.server.processes import GET, PARK_APP, ServerProcess, read_all

from triopoll.__main__ import load_app, main
from triopoll.server import BindError, StartupFailed, open_socket

REFUSING = """
async def app(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "run one worker"})
"""


def test_help_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    """With its default."""
    with pytest.raises(SystemExit):
        main(["serve", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    for option, default in [
        ("--bind", "127.0.0.1:8000"),
        ("--workers", "1"),
        ("--drain-delay", "5.0"),
        ("--drain-window", "10.0"),
        ("--max-connections", "20000"),
    ]:
        assert re.search(rf"{option} .*?\(default: {default}\)", text), option


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["serve", "--workers", "0"],
        ["serve", "--workers", "two"],
        ["serve", "--drain-window", "-1"],
        ["serve", "--drain-window", "inf"],
        ["serve", "--drain-window", "nan"],
        ["serve", "--drain-window", "soon"],
        ["serve", "--max-connections", "1.5"],
        ["serve", "--unknown"],
    ],
)
def test_a_wrong_command_line_is_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """argparse says what is wrong."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "error: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("nowhere_to_be_found:app", "No module named"),
        ("json:app", "no attribute 'app'"),
        ("json", "is not module:name"),
        (":app", "is not module:name"),
    ],
)
def test_an_application_that_cannot_be_loaded(path: str, reason: str) -> None:
    """The message names it and says why; the exit code is 3."""
    with pytest.raises(StartupFailed, match=reason):
        load_app(path)
    assert main(["serve", path]) == 3


def test_the_working_directory_is_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As people expect from a server's command."""
    (tmp_path / "app_in_cwd.py").write_text("app = print")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert load_app("app_in_cwd:app") is print
    assert load_app("app_in_cwd:app") is print


@contextlib.contextmanager
def listening(bind: str) -> Iterator[socket.socket]:
    sock = open_socket(bind)
    try:
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        assert not sock.getblocking()
        yield sock
    finally:
        sock.close()


def test_addresses(tmp_path: Path) -> None:
    """TCP of both kinds, all interfaces, a path, an inherited descriptor."""
    with listening("127.0.0.1:0") as sock:
        assert sock.getsockname()[0] == "127.0.0.1"
        with listening(f"fd:{os.dup(sock.fileno())}") as again:
            assert again.getsockname() == sock.getsockname()
    with listening("localhost:0"), listening(":0"):
        pass
    if socket.has_ipv6 and Path("/proc/net/if_inet6").exists():
        with listening("[::1]:0") as sock:
            assert sock.family == socket.AF_INET6
    path = str(tmp_path / "sock")
    with listening(f"unix:{path}"):
        with pytest.raises(BindError, match="in use"):
            open_socket(f"unix:{path}")
    with listening(f"unix:{path}"):
        pass  # the file that a server left behind is taken over


@pytest.mark.parametrize(
    "bind",
    ["", "8000", "127.0.0.1:", "127.0.0.1:http", "127.0.0.1:99999", "fd:x", "fd:999"],
)
def test_addresses_that_are_none(bind: str) -> None:
    """The message names the address."""
    with pytest.raises(BindError, match=re.escape(repr(bind))):
        open_socket(bind)


def test_a_file_that_is_no_socket_is_not_removed(tmp_path: Path) -> None:
    """Only a dead socket is taken over."""
    path = tmp_path / "precious"
    path.write_text("data")
    with pytest.raises(BindError, match="in use"):
        open_socket(f"unix:{path}")
    assert path.read_text() == "data"


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_port_in_use_is_3(workers: str) -> None:
    """Before anything is started."""
    with listening("127.0.0.1:0") as sock:
        port = sock.getsockname()[1]
        bind = f"127.0.0.1:{port}"
        assert main(["serve", PARK_APP, "--bind", bind, "--workers", workers]) == 3


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_an_application_that_refuses_to_start_is_3(
    tmp_path: Path, workers: str
) -> None:
    """With its own words in the log, and without starting it again and again."""
    (tmp_path / "refusing.py").write_text(REFUSING)
    bind = f"127.0.0.1:{find_free_port()}"
    command = [sys.executable, "-m", "triopoll", "serve", "refusing:app"]
    result = subprocess.run(
        [*command, "--bind", bind, "--workers", workers],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert result.returncode == 3
    assert "run one worker" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.slow
def test_ctrl_c_ends_the_workers_too(tmp_path: Path) -> None:
    """SIGINT to the whole group, as a terminal sends it, drains them once."""
    options = ("--workers", "2", "--drain-delay", "60", "--drain-window", "0.2")
    with ServerProcess(tmp_path / "log", *options) as server:
        server.wait_until_up()
        with server.connect() as sock:
            sock.sendall(GET % b"/park")
            time.sleep(0.2)
            os.killpg(server.process.pid, signal.SIGINT)
            assert read_all(sock).endswith(b"again")
        assert server.process.wait(5) == 0, server.output
    assert "second signal" not in server.output


SLOW = """
import pathlib, os, time
pathlib.Path(f"importing-{os.getpid()}").touch()
time.sleep(60)
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_workers_that_still_start_have_no_clients(
    tmp_path: Path, number: signal.Signals
) -> None:
    """Stopped while they import the application, they end at once, and it is 0."""
    (tmp_path / "slow.py").write_text(SLOW)
    bind = f"127.0.0.1:{find_free_port()}"
    command = [sys.executable, "-m", "triopoll", "serve", "slow:app", "--bind", bind]
    process = subprocess.Popen(
        [*command, "--workers", "2"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 20
    while len(list(tmp_path.glob("importing-*"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, number)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "Traceback" not in errors
