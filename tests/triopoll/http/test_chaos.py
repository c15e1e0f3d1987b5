"""Faults while messages are read: a small run of ``bench/chaos.py``."""

from __future__ import annotations

import os

import pytest
from tests.bench_runs import figures_of, run_bench
from tests.services import find_tool

FAULTS = (
    *("worker-killed", "server-killed", "deploy"),
    *("redis-cut", "redis-killed", "slock-killed"),
)

LOSSES = ("failover", "tail-lost")
REFUSALS = ("disk-full", "memory-full", "rights-changed")


def chaos(*options: str) -> tuple[int, dict[str, int]]:
    """Run the bench; return its exit code, and its figures by name."""
    small = ("--messages", "300", "--clients", "12", "--seconds", "4", "--limit", "60")
    code, output = run_bench("chaos.py", *small, *options)
    return code, figures_of(output)


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
