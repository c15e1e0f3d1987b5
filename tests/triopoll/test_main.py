"""The command line: its help, what it starts, what it refuses, its exit codes."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import pytest
from tests.services import find_free_port
from tests.triopoll.server.processes import GET, PARK_APP, ServerProcess, read_all

from triopoll.__main__ import load_app, main
from triopoll.server import StartupFailed

REFUSING = """
async def app(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "run one worker"})
"""


def help_of(capsys: pytest.CaptureFixture[str], *command: str) -> str:
    with pytest.raises(SystemExit) as caught:
        main([*command, "--help"])
    assert caught.value.code == 0
    return " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("command", [(), ("serve",), ("key",), ("ticket",)])
def test_help_is_plain_text(
    capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    """No markup, no name of a Python function, and one default for an option."""
    text = help_of(capsys, *command)
    assert "`" not in text
    assert "None" not in text
    assert " _" not in text
    assert not re.search(r"\(default: [^)]*\) \(default", text)


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    """That of the distribution."""
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"triopoll {version('trioslock')}\n"


def test_help_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    """With its default."""
    text = help_of(capsys, "serve")
    for option, default in [
        ("--bind", "127.0.0.1:8000"),
        ("--workers", "1"),
        ("--drain-delay", "5.0"),
        ("--drain-window", "10.0"),
        ("--max-connections", "20000"),
    ]:
        assert re.search(rf"{option} .*?\(default: {default}\)", text), option


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["serve", "--workers", "0"], "--workers: '0' is not a whole number above 0"),
        (["serve", "--workers", "two"], "'two' is not a whole number above 0"),
        (["serve", "--drain-window", "-1"], "'-1' is not a number of seconds"),
        (["serve", "--drain-window", "inf"], "'inf' is not a number of seconds"),
        (["serve", "--drain-window", "nan"], "'nan' is not a number of seconds"),
        (["serve", "--drain-window", "soon"], "'soon' is not a number of seconds"),
        (["serve", "--max-connections", "1.5"], "'1.5' is not a whole number above 0"),
        (["serve", "--unknown"], "unrecognized arguments: --unknown"),
    ],
)
def test_a_wrong_command_line_is_2(
    arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was given and what is accepted is said in one line."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    (line,) = [
        line for line in capsys.readouterr().err.splitlines() if "error: " in line
    ]
    assert reason in line


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


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_port_in_use_is_3(workers: str, caplog: pytest.LogCaptureFixture) -> None:
    """Before anything is started; the log says which address is taken."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        bind = f"127.0.0.1:{sock.getsockname()[1]}"
        assert main(["serve", PARK_APP, "--bind", bind, "--workers", workers]) == 3
    expected = f"cannot listen on {bind!r}: Address already in use"
    assert [record.message for record in caplog.records] == [expected]


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
