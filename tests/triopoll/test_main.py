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
from tests.services import find_free_port, wait_for_port
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


APPLICATION = """
import sys, threading, time, trio
from triopoll import __main__
from triopoll.server import lifespan

async def app(scope, receive, send):
    if scope["type"] != "lifespan":
        await trio.sleep_forever()
    await receive()
    await send({"type": "lifespan.startup.complete"})
    __THEN__

async def shielded():
    with trio.CancelScope(shield=True):
        await trio.sleep_forever()

if __name__ == "__main__":
    __main__._SHUTDOWN_SECONDS = 1.5
    lifespan.SHUTDOWN_DEADLINE = 0.5
    sys.exit(__main__.main(["serve", *sys.argv[1:]]))
"""
SECOND = "\n    await receive()\n    "
ENDED = "the application has not shut down within 1.5 s: the process ends without it"


def exit_of(
    tmp_path: Path, then: str, *, stop: bool = True, stuck: bool = False
) -> tuple[int, str, float]:
    """Serve an application; return exit code, log, and time from SIGTERM to its end."""
    script = tmp_path / "served.py"
    script.write_text(APPLICATION.replace("__THEN__", then))
    port = find_free_port()
    options = ("--drain-delay", "0", "--drain-window", "0", "--drain-grace", "0.2")
    command = [sys.executable, str(script), "served:app", *options]
    process = subprocess.Popen(
        [*command, "--bind", f"127.0.0.1:{port}"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )
    begun = time.monotonic()
    if stop:
        wait_for_port(port, process)
        # A connection waits in the backlog before the server handles signals.
        assert process.stderr is not None
        heard = ""
        while "listening on" not in heard:
            heard = process.stderr.readline()
            assert heard, "it has ended"
        with socket.create_connection(("127.0.0.1", port)) as sock:
            if stuck:
                sock.sendall(GET % b"/")
                time.sleep(0.3)
            begun = time.monotonic()
            process.send_signal(signal.SIGTERM)
            _, log = process.communicate(timeout=60)
    else:
        _, log = process.communicate(timeout=60)
    return process.returncode, log, time.monotonic() - begun


@pytest.mark.slow
@pytest.mark.parametrize(
    ("then", "message"),
    [
        (f"{SECOND}await trio.sleep_forever()", "has not shut down within 0.5 s"),
        (f"{SECOND}raise LookupError", "the server failed"),
        (f"{SECOND}await shielded()", ENDED),
        (f"{SECOND}await trio.to_thread.run_sync(time.sleep, 60)", ENDED),
        (f"{SECOND}time.sleep(60)", ENDED),
    ],
    ids=["waits", "fails", "ignores cancellation", "waits in a thread", "blocks"],
)
def test_a_shutdown_has_its_time_and_says_nothing_of_clients(
    tmp_path: Path, then: str, message: str
) -> None:
    """Whatever the application does: the process ends, and 1 is for cut clients."""
    code, log, seconds = exit_of(tmp_path, then)
    assert code == 4, log
    assert message in log
    assert seconds < 20
    assert exit_of(tmp_path, then, stuck=True)[0] == 1


@pytest.mark.slow
def test_an_application_that_fails_is_4(tmp_path: Path) -> None:
    """Not 1, which is Python's own for an error that nothing catches."""
    code, log, _ = exit_of(tmp_path, "raise LookupError('lost')", stop=False)
    assert code == 4
    assert "the server failed" in log
    assert "LookupError: lost" in log


def test_a_supervisor_imports_neither_stores_nor_clients() -> None:
    """They would cost each start a third more, and stay in its memory."""
    program = (
        "import sys\n"
        "from triopoll.__main__ import _parser\n"
        "_parser(['serve'])\n"
        "print(*{'redis', 'triopoll.client', 'triopoll.services'} & {*sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []
