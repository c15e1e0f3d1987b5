"""A command that is held: what it gets when the hold is lost, and its terminal."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import termios
from collections.abc import Callable

import pytest
from tests.trioslock.cli.commands import TRAPPED, TRIOSLOCK, rest, running

from trioslock.cli import main
from trioslock.testing import SlockServer

pytestmark = pytest.mark.slow

# Ends after half a second, and ignores nothing.
WHOLE = "echo runs; for i in $(seq 25); do sleep 0.02; done; echo whole; exit 4"


@pytest.mark.parametrize(
    ("options", "script", "code", "output"),
    [
        ([], TRAPPED, 75, "TERM\n"),
        (["--on-lost", "kill"], TRAPPED, 75, ""),
        (["--on-lost", "ignore"], WHOLE, 4, "whole\n"),
        (["--grace", "0.1"], "trap '' TERM; echo runs; exec sleep 60", 75, ""),
        (["--on-lost-exec", "echo '1 2' 3"], TRAPPED, 75, "1 2 3\nTERM\n"),
        (
            ["--on-lost", "ignore", "--on-lost-exec", "echo hook"],
            WHOLE,
            4,
            "hook\nwhole\n",
        ),
        (["--on-lost-exec", "sh -c 'echo $TRIOSLOCK_KEY'"], WHOLE, 75, "lost\n"),
        (["--on-lost-exec", "/no/such"], TRAPPED, 75, "TERM\n"),
    ],
)
def test_a_lost_lock(
    slock: SlockServer, options: list[str], script: str, code: int, output: str
) -> None:
    """--on-lost says what the command gets, and whose exit code comes out."""
    words = [*TRIOSLOCK, "lock", "--url", slock.url, *options, "lost", "--"]
    with running(*words, "sh", "-c", script) as process:
        assert slock.lose("lost") == 1
        found, lines, errors = rest(process)
    assert found == code
    assert sorted(lines.splitlines()) == sorted(output.splitlines())
    assert "trioslock: " in errors
    assert "Traceback" not in errors
    assert ("/no/such: No such file" in errors) == ("/no/such" in options)


def test_the_program_of_a_loss_knows_the_command(slock: SlockServer) -> None:
    """It can send it a signal of its own."""
    script = "trap 'echo USR1; exit 6' USR1; echo runs; while :; do sleep 0.02; done"
    options = ["--on-lost", "ignore", "--on-lost-exec"]
    options.append("sh -c 'kill -USR1 $TRIOSLOCK_PID'")
    words = [*TRIOSLOCK, "lock", "--url", slock.url, *options, "usr1", "--"]
    with running(*words, "sh", "-c", script) as process:
        slock.lose("usr1")
        assert rest(process)[:2] == (6, "USR1\n")


def test_a_server_that_is_gone_is_a_loss(slock: SlockServer) -> None:
    """The lease ends by the clock of the client."""
    words = [*TRIOSLOCK, "lock", "--url", slock.url, "--lease", "1", "gone", "--"]
    with running(*words, "sh", "-c", TRAPPED) as process:
        slock.down()
        try:
            assert rest(process)[:2] == (75, "TERM\n")
        finally:
            slock.heal()


def test_a_signal_after_the_loss_reaches_the_command(slock: SlockServer) -> None:
    """While it runs on, signals are passed on as before."""
    options = ["--on-lost", "ignore", "--on-lost-exec", "echo lost"]
    words = [*TRIOSLOCK, "lock", "--url", slock.url, *options, "after", "--"]
    with running(*words, "sh", "-c", TRAPPED) as process:
        slock.lose("after")
        assert process.stdout is not None
        assert process.stdout.readline() == "lost\n"
        process.terminate()
        assert rest(process)[:2] == (5, "TERM\n")


# Exits with 40 and the number of interrupts, when it gets SIGTERM.
COUNT = """
import signal, sys

def count(*_):
    global n
    n += 1
    print("INT", flush=True)

n = 40
signal.signal(signal.SIGINT, count)
signal.signal(signal.SIGHUP, lambda *_: print("HUP", flush=True))
signal.signal(signal.SIGTERM, lambda *_: sys.exit(n))
print("runs", flush=True)
while True:
    signal.pause()
"""


def control_terminal(terminal: int) -> Callable[[], None]:
    def take() -> None:
        fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)

    return take


def test_a_ctrl_c_of_a_terminal_comes_once(slock: SlockServer) -> None:
    """The command counts it; its exit code comes through, and no traceback."""
    words = [*TRIOSLOCK, "lock", "--url", slock.url, "tty", sys.executable, "-c", COUNT]
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        words,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=control_terminal(theirs),  # noqa: PLW1509  # only libc
    )
    os.close(theirs)
    try:
        seen = read_until(ours, b"runs")
        # Two interrupts that are pending together are one.
        process.send_signal(signal.SIGSTOP)
        os.write(ours, b"\x03")
        seen += read_until(ours, b"INT\r\n")
        process.send_signal(signal.SIGCONT)
        # Passed on after the interrupt, if that is passed on.
        process.send_signal(signal.SIGHUP)
        seen += read_until(ours, b"HUP\r\n")
        process.terminate()
        assert process.wait(20) == 41
        assert b"Traceback" not in seen
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def read_until(terminal: int, text: bytes) -> bytes:
    seen = b""
    while text not in seen:
        seen += os.read(terminal, 1000)
    return seen


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["k"], "a command is needed after the key"),
        (["k", "--"], "a command is needed after the key"),
        (["k", "-n", "--", "true"], "-n stands after the key; options go before it"),
        (["--on-lost-exec", "'", "k", "true"], "No closing quotation"),
        (["--on-lost-exec", " ", "k", "true"], "an empty text is no program"),
        (["--on-lost", "x", "k", "true"], "invalid choice: 'x'"),
    ],
)
def test_wrong_words(
    words: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["lock", *words])
    assert caught.value.code == 2
    assert text in capsys.readouterr().err
