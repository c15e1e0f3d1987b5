"""The commands as programs, and what they print."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tests.services import wait_for_line

TRIOSLOCK = [sys.executable, "-m", "trioslock"]
# Runs until it is ended by a signal.
FOREVER = "echo runs; exec sleep 60"
# Prints which signal it got, and exits with 5.
TRAPPED = "trap 'echo TERM; exit 5' TERM; echo runs; while :; do sleep 0.02; done"


def run(*words: str, stdin: str = "") -> tuple[int, str, str]:
    """Run a program; return its exit code, and what it has printed."""
    done = subprocess.run(
        words, input=stdin, capture_output=True, text=True, timeout=30, check=False
    )
    return done.returncode, done.stdout, done.stderr


@contextmanager
def started(*words: str) -> Iterator[subprocess.Popen[str]]:
    """Run a program; on the way out kill it, if it has not ended."""
    process = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def running(*words: str) -> Iterator[subprocess.Popen[str]]:
    """The same, when its command has printed ``runs``."""
    with started(*words) as process:
        wait_for_line(process, "runs")
        yield process


def rest(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Return the exit code and what was printed after ``runs``, up to all ends.

    The output ends when the last process that has it has ended.
    """
    output, errors = process.communicate(timeout=30)
    return process.returncode, output, errors
