"""The rules of states: moves, deadlines, numbers, final states."""

from __future__ import annotations

import pytest
from msgspec import Raw
from msgspec.structs import replace

from triopoll.core.state_rules import (
    TOMBSTONE,
    BadChoice,
    Change,
    Conflict,
    NewState,
    acknowledge,
    apply_change,
    current,
    new_record,
    view,
)
from triopoll.store import FoundState, StateRecord

NULL = Raw(b"null")


def record_of(**fields: object) -> StateRecord:
    new = {"state": "pending", "data": Raw(b'"secret"'), "ttl": 300.0}
    return new_record(NewState(**{**new, "confirm_within": 60.0, **fields}))  # type: ignore[arg-type]


def at(record: StateRecord, age: float) -> StateRecord:
    return current(FoundState(record, record.version, 0.0, age))


def changed(
    record: StateRecord, age: float, state: str, **fields: object
) -> StateRecord:
    result = apply_change(record, age, Change(state=state, **fields))  # type: ignore[arg-type]
    assert isinstance(result, StateRecord), result
    return result


def test_a_new_state_expires_with_its_ttl() -> None:
    """Not a moment before; expired is the next version, final and without data."""
    record = record_of()
    assert at(record, 299.999) is record
    expired = at(record, 300)
    assert (expired.state, expired.version, expired.is_final) == ("expired", 2, True)
    assert expired.data == NULL
    assert view(record, 100).expires_in == 200
    assert view(expired, 400).expires_in == 300 + TOMBSTONE - 400


def test_a_state_that_begins_as_scanned() -> None:
    """Its time for the confirmation runs from its creation."""
    record = record_of(state="scanned")
    assert view(record, 20).expires_in == 40
    assert at(record, 60).state == "expired"


def test_the_time_for_the_confirmation() -> None:
    """From the first scan; never later than the ttl; over with another move."""
    scanned = changed(record_of(), 100, "scanned")
    assert view(scanned, 100).expires_in == 60
    again = changed(scanned, 140, "scanned", data=Raw(b"2"))
    assert view(again, 140).expires_in == 20
    late = changed(record_of(), 290, "scanned")
    assert view(late, 290).expires_in == 10
    other = changed(scanned, 150, "pending")
    assert view(other, 150).expires_in == 150


def test_a_new_ttl() -> None:
    """It counts from the change, and the record is kept for longer."""
    record = changed(record_of(), 100, "pending", ttl=600.0)
    assert view(record, 100).expires_in == 600
    assert record.kept == 700 + TOMBSTONE


def test_nothing_changes_a_final_state() -> None:
    """Neither a change nor its time."""
    done = changed(record_of(), 1, "confirmed", is_final=True)
    assert at(done, 999) is done
    refused = apply_change(done, 2, Change(state="pending"))
    assert isinstance(refused, Conflict)
    assert (refused.state, refused.version, refused.replacement) == (
        "confirmed",
        2,
        None,
    )
    assert "final" in refused.reason


def test_moves() -> None:
    """Only those that are listed; a state that is not listed has none."""
    record = record_of(moves={"pending": ["scanned"], "scanned": ["scanned"]})
    scanned = changed(record, 1, "scanned")
    assert changed(scanned, 1, "scanned").version == 3
    for source, target in ((record, "pending"), (scanned, "confirmed")):
        refused = apply_change(source, 1, Change(state=target))
        assert isinstance(refused, Conflict)
        assert f"from {source.state} to {target}" in refused.reason
    dead_end = replace(record, state="other")
    assert isinstance(apply_change(dead_end, 1, Change(state="pending")), Conflict)


def test_another_version() -> None:
    """It is named, and nothing is changed."""
    refused = apply_change(record_of(), 1, Change(state="a", if_version=2))
    assert isinstance(refused, Conflict)
    assert refused.reason == "the state has version 1"
    assert changed(record_of(), 1, "a", if_version=1).version == 2


def test_numbers() -> None:
    """A confirmation has a choice; a wrong one rejects, also in spite of the moves."""
    moves = {"pending": ["scanned"], "scanned": ["confirmed"]}
    record = record_of(numbers=(10, 20, 30), number=20, moves=moves)
    assert apply_change(record, 1, Change(state="scanned", choice=20)) is (
        BadChoice.UNASKED
    )
    scanned = changed(record, 1, "scanned")
    missing = apply_change(scanned, 2, Change(state="confirmed"))
    assert missing is BadChoice.MISSING
    done = changed(scanned, 2, "confirmed", choice=20, data=Raw(b"1"))
    assert (done.state, done.is_final, done.data) == ("confirmed", False, Raw(b"1"))
    wrong = apply_change(
        scanned, 2, Change(state="confirmed", choice=10, data=Raw(b"1"))
    )
    assert isinstance(wrong, Conflict)
    assert wrong.replacement is not None
    assert (wrong.state, wrong.version) == ("rejected", 3)
    assert wrong.replacement.is_final
    assert wrong.replacement.data == NULL
    unasked = apply_change(record_of(), 1, Change(state="confirmed", choice=1))
    assert unasked is BadChoice.UNASKED


def test_an_acknowledgement() -> None:
    """Of a final state, by its version; the data is deleted, the rest stays."""
    done = changed(record_of(), 1, "confirmed", is_final=True, data=Raw(b"1"))
    acked = acknowledge(done, 2)
    assert isinstance(acked, StateRecord)
    assert (acked.is_acked, acked.data, acked.version) == (True, NULL, 2)
    for record, version in ((done, 1), (record_of(), 1)):
        assert isinstance(acknowledge(record, version), Conflict)


@pytest.mark.parametrize("kind", ["record", "new", "change"])
def test_representations(kind: str) -> None:
    """They have the name of the state and no data: what is printed ends in logs."""
    data = Raw(b'"secret"')
    shown = {
        "record": record_of(),
        "new": NewState(state="pending", data=data, ttl=1, confirm_within=1),
        "change": Change(state="pending", data=data),
    }[kind]
    assert "pending" in repr(shown)
    assert "secret" not in repr(shown)
