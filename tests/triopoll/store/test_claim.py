"""One process of several workers keeps messages in memory."""

import subprocess
import sys

import pytest

from triopoll.settings import SUPERVISOR_VARIABLE
from triopoll.store import MemoryTaken, claimed_memory

TRY = """
from triopoll.store import MemoryTaken, claimed_memory
try:
    with claimed_memory():
        print("claimed")
except MemoryTaken:
    print("taken")
"""


def test_a_second_claim_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """By workers of the same supervisor, and only while the first claim lasts."""
    monkeypatch.setenv(SUPERVISOR_VARIABLE, "test-claim")

    def other() -> str:
        command = [sys.executable, "-c", TRY]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    with claimed_memory():
        assert other() == "taken"
        with pytest.raises(MemoryTaken), claimed_memory():
            pass
        monkeypatch.setenv(SUPERVISOR_VARIABLE, "test-claim-other")
        assert other() == "claimed"
    monkeypatch.setenv(SUPERVISOR_VARIABLE, "test-claim")
    assert other() == "claimed"
