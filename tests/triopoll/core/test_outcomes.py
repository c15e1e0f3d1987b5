"""Outcomes compare by what clients get; failures have names for programs."""

from __future__ import annotations

from triopoll.core.outcomes import EventFired, Failure, OperationFailed, PoppedMessage


def test_outcomes_compare_by_what_clients_get() -> None:
    """Neither the time of the wake nor the way to settle a message is part of it."""
    assert EventFired(1.0) == EventFired()
    settled: list[str] = []
    message = PoppedMessage(
        b"1",
        waited=True,
        ack=lambda: settled.append("ack"),
        nack=lambda: settled.append("nack"),
        woken=1.0,
    )
    assert message == PoppedMessage(b"1", waited=True)
    assert message != PoppedMessage(b"1", waited=False)
    message.ack()
    message.nack()
    assert settled == ["ack", "nack"]


def test_an_empty_list_has_nothing_to_settle() -> None:
    """Both calls are allowed, so that callers need not distinguish."""
    empty = PoppedMessage(None, waited=True)
    empty.ack()
    empty.nack()


def test_failures_are_named_for_programs() -> None:
    """The value is the code in metrics and in `/v1`, not a text of an endpoint."""
    for failure in Failure:
        assert failure.value == failure.name.lower()
        assert str(OperationFailed(failure)) == failure.value
