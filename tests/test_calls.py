"""An operation takes no more calls than its bound, as ``bench/calls.py`` counts."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from bench.calls import count_lock, typical

ROOT = Path(__file__).parent.parent
BENCH = ROOT / "bench" / "calls.py"
PAGE = ROOT / "docs" / "explanation" / "how-a-lock-travels.md"
MOST_FOR_A_LOCK = 64


@pytest.mark.slow
def test_a_lock_takes_no_more_calls_than_its_bound() -> None:
    """One uncontended ``async with client.lock(key)`` over TCP, its reader included."""
    calls = count_lock()
    assert calls.total() <= MOST_FOR_A_LOCK, calls.most_common()
    # Both ends of the way are counted: the caller's, and that of the reader's task.
    assert calls["trioslock.client._database.Database.lock"] == 1
    assert calls["trioslock.transport.SocketTransport.receive"] > 1
    assert f"the whole way is {calls.total()} calls" in PAGE.read_text()


def test_the_typical_run_is_one_that_was_counted() -> None:
    assert typical([Counter(f=number) for number in (9, 1, 5)])["f"] == 5


@pytest.mark.slow
def test_the_command_prints_the_number_and_the_names() -> None:
    output = subprocess.run(
        [sys.executable, str(BENCH), "lock", "--names"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    *names, last = output.splitlines()
    assert last == f"lock: {sum(int(line.split()[0]) for line in names)} calls"
