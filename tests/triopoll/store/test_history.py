"""What a command says of the last write, before any connection fills it in."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from triopoll.store import _history as module
from triopoll.store._history import LastWrite


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the time, which a test may change."""
    now = [100.0]
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


def test_nothing_was_written() -> None:
    assert LastWrite().since("a") == ""


def test_a_write_to_the_same_history_is_not_mentioned(now: list[float]) -> None:
    write = LastWrite()
    write.note("a")
    now[0] += 5
    assert write.since("a") == ""
    assert write.since("b") == "5000"


def test_a_write_to_an_unknown_history_changes_nothing(now: list[float]) -> None:
    write = LastWrite()
    write.note("a")
    now[0] += 5
    write.note("")
    assert write.since("b") == "5000"


def test_placeholders_are_told_apart_from_what_users_write() -> None:
    write = LastWrite()
    assert write.for_writes.is_write
    assert not write.for_reads.is_write
    assert write.for_reads.last is write.for_writes.last is write
    assert type(write.for_reads) is not str


def test_a_write_is_forgotten_where_another_history_knows_of_it(
    now: list[float],
) -> None:
    write = LastWrite()
    write.note("a")
    write.forget_unless("a")
    assert write.since("b") == "0"
    write.forget_unless("b")
    assert write.since("b") == ""
