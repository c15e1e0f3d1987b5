"""Faults while messages are read: a small run of ``bench/chaos.py``."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.services import find_tool

BENCH = Path(__file__).parents[3] / "bench" / "chaos.py"
FAULTS = (
    *("worker-killed", "server-killed", "deploy"),
    *("redis-cut", "redis-killed", "slock-killed"),
)

LOSSES = ("failover", "tail-lost")
REFUSALS = ("disk-full", "memory-full", "rights-changed")


def chaos(*options: str) -> tuple[int, dict[str, int]]:
    """Run the bench; return its exit code, and its figures by name."""
    command = [
        *(sys.executable, str(BENCH), "--messages", "300", "--clients", "12"),
        *("--seconds", "4", "--limit", "60", *options),
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        output, _ = process.communicate(timeout=150)
    except subprocess.TimeoutExpired:
        # On SIGINT it also ends its programs.
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=10)
        raise
    print(output)
    words = (line.strip().split("  ", 1) for line in output.splitlines())
    figures = {each[1]: int(each[0].replace(",", "")) for each in words if each[1:]}
    return process.returncode, figures


@pytest.mark.long
def test_nothing_is_lost_whatever_breaks() -> None:
    """With each fault at least once, every reader gets all messages in order."""
    find_tool("redis-server")
    seed = os.environ.get("CHAOS_SEED", "1")
    code, figures = chaos("--seed", seed, "--faults", *FAULTS)
    assert figures["lost"] == 0
    assert figures["out of order within a key"] == 0
    assert figures["skipped without a reported gap"] == 0
    assert figures["duplicates with another id"] == 0
    assert figures["gaps reported"] == 0
    assert all(figures[fault] == 1 for fault in FAULTS)
    assert figures["exit code 0"] == 1  # of the deploy: it cut no client
    assert code == 0


@pytest.mark.long
def test_what_redis_loses_is_reported() -> None:
    """Every reader gets what Redis still has, and a gap where it has lost messages."""
    find_tool("redis-sentinel")
    code, figures = chaos("--limit", "120", "--faults", *LOSSES, *REFUSALS)
    assert figures["lost"] == 0
    assert figures["out of order within a key"] == 0
    assert figures["skipped without a reported gap"] == 0
    assert figures["duplicates with another id"] == 0
    assert figures["gaps reported"] > 0
    assert all(figures[fault] == 1 for fault in (*LOSSES, *REFUSALS))
    assert code == 0


@pytest.mark.long
def test_trimmed_messages_are_reported() -> None:
    """Late readers get a report of each message that is gone."""
    find_tool("redis-server")
    code, figures = chaos("--keep", "5", "--faults", "slock-killed")
    assert figures["gaps reported"] > 0
    assert figures["messages covered by gaps"] > 0
    assert figures["lost"] == figures["skipped without a reported gap"] == 0
    assert code == 0
