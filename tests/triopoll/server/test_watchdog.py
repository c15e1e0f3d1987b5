"""A process whose application does not end is ended."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

TRY = """
import logging, sys, threading, time
from triopoll.server.watchdog import exit_after
logging.basicConfig(stream=sys.stderr, format="%(levelname)s %(message)s")
exit_after({seconds}, 7)
{then}
"""
MESSAGE = (
    "ERROR the application has not shut down within 0.2 s: "
    "the process ends without it\n"
)


def run(then: str, seconds: float = 0.2) -> tuple[int, str, float]:
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", TRY.format(then=then, seconds=seconds)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stderr, time.monotonic() - begun


@pytest.mark.slow
@pytest.mark.parametrize(
    "then",
    [
        "time.sleep(60)",
        "while True: pass",
        "threading.Thread(target=time.sleep, args=[60]).start()",
    ],
    ids=["waits", "computes", "has a thread"],
)
def test_a_process_that_does_not_end(then: str) -> None:
    """Whatever keeps it: it ends with the code, and the log says why."""
    code, log, seconds = run(then)
    assert (code, log) == (7, MESSAGE)
    assert seconds < 30


@pytest.mark.slow
def test_a_process_that_ends_by_itself() -> None:
    """It does not wait, and has its own exit code."""
    code, log, seconds = run("sys.exit(3)", 50)
    assert (code, log) == (3, "")
    assert seconds < 30
