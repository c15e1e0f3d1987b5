"""The lines that say how a backend is."""

import logging

import pytest

from triopoll.store import BackendState

LOG = logging.getLogger("triopoll.test")


class Rig:
    """A state, and a clock that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0
        self.state = BackendState(LOG, "Redis", clock=lambda: self.now)

    def fail(self, fault: str, reason: str = "why", healed: str = "is back") -> None:
        self.state.fails("h:1", fault, reason, healed)


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def test_one_line_for_each_change(caplog: pytest.LogCaptureFixture) -> None:
    """However often the same is found; and how long it took."""
    rig = Rig()
    for _ in range(3):
        rig.fail("does not answer")
        rig.now += 4
    for _ in range(3):
        rig.state.serves("h:1")
    assert lines(caplog) == [
        "Redis at h:1 does not answer: why",
        "Redis at h:1 is back after 12 s",
    ]


def test_one_fault_after_another(caplog: pytest.LogCaptureFixture) -> None:
    """Each is a line; the time counts from the first, the last word from the last."""
    rig = Rig()
    rig.fail("does not answer")
    rig.now += 2
    rig.fail("is loading", healed="has loaded")
    assert (rig.state.fault, rig.state.reason) == ("is loading", "why")
    rig.now += 3
    rig.state.serves("h:2")
    assert (rig.state.fault, rig.state.reason) == ("", "")
    assert lines(caplog)[1:] == [
        "Redis at h:1 is loading: why",
        "Redis at h:2 has loaded after 5 s",
    ]


def test_the_first_answer(caplog: pytest.LogCaptureFixture) -> None:
    """Is said as well, to those who look for it."""
    caplog.set_level(logging.DEBUG)
    rig = Rig()
    rig.state.serves("h:1")
    rig.state.serves("h:1")
    assert [(r.levelno, r.getMessage()) for r in caplog.records] == [
        (logging.DEBUG, "Redis at h:1 answers")
    ]


def test_its_repr() -> None:
    """Says what is known."""
    rig = Rig()
    assert repr(rig.state) == "<BackendState: Redis serves>"
    rig.fail("is full")
    assert repr(rig.state) == "<BackendState: Redis is full>"


def test_status_for_operators() -> None:
    """Another server in its place, or another history, is a change."""
    rig = Rig()
    assert rig.state.status() == ("", "", "", 0, None)
    rig.state.serves("h:1", "one")
    rig.fail("does not answer")
    assert rig.state.status() == ("h:1", "does not answer", "why", 0, None)
    rig.state.serves("h:1", "one")
    assert rig.state.status() == ("h:1", "", "", 0, None)
    rig.state.serves("h:2", "one")
    rig.state.serves("h:2", "two")
    status = rig.state.status()
    assert (status.address, status.changes) == ("h:2", 2)
    assert status.changed_at is not None
