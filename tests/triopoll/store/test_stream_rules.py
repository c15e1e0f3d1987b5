"""The rules by which appends are refused, in their order."""

from __future__ import annotations

from typing import Any

import pytest

from triopoll.store import NewAppend, Offset, Producer, Refused, StreamAppended
from triopoll.store import StreamRefusal as Because
from triopoll.store._stream_rules import refuse_append

TAIL = Offset(5, "0000000000000001")
OPEN: dict[str, Any] = {
    "kind": "a/b",
    "tail": TAIL,
    "closing": None,
    "is_closed": False,
    "seq": None,
    "known": None,
}


@pytest.mark.parametrize(
    ("new", "stream", "reason"),
    [
        (NewAppend(kind="a/b", data=b"x"), {}, None),
        (NewAppend(kind="c/d", data=b"x"), {}, Because.WRONG_TYPE),
        (NewAppend(kind="c/d", closes=True), {}, None),
        (NewAppend(kind="c/d", data=b"x"), {"is_closed": True}, Because.CLOSED),
        (NewAppend(producer=Producer("p", 1, 1)), {}, Because.SEQ_GAP),
        (
            NewAppend(producer=Producer("p", 2, 1)),
            {"known": (1, 5)},
            Because.NEW_EPOCH,
        ),
        (NewAppend(producer=Producer("p", 2, 0)), {"known": (1, 5)}, None),
        (NewAppend(producer=Producer("p", 1, 6)), {"known": (1, 5)}, None),
        (
            NewAppend(producer=Producer("p", 0, 6)),
            {"known": (1, 5)},
            Because.STALE_EPOCH,
        ),
        (
            NewAppend(producer=Producer("p", 0, 6)),
            {"known": (1, 5), "is_closed": True},
            Because.STALE_EPOCH,
        ),
        (NewAppend(seq=b"2"), {"seq": b"10"}, None),
        (NewAppend(seq=b"10"), {"seq": b"2"}, Because.OLD_SEQ),
        (NewAppend(seq=b"2"), {"seq": b"2"}, Because.OLD_SEQ),
    ],
)
def test_a_rule(new: NewAppend, stream: dict[str, Any], reason: Because | None) -> None:
    """Each refuses what it is for, and nothing else."""
    outcome = refuse_append(new, **(OPEN | stream))
    assert not isinstance(outcome, StreamAppended)
    assert (outcome.reason if isinstance(outcome, Refused) else None) is reason


def test_duplicates() -> None:
    """They change nothing, and name the highest number that was accepted."""
    retry = NewAppend(kind="a/b", data=b"x", producer=Producer("p", 1, 3))
    outcome = refuse_append(retry, **(OPEN | {"known": (1, 5)}))
    assert outcome == StreamAppended(tail=TAIL, closed=False, duplicate=True, seq=5)
    closed = OPEN | {"is_closed": True, "closing": Producer("p", 1, 3)}
    outcome = refuse_append(retry, **closed)
    assert outcome == StreamAppended(tail=TAIL, closed=True, duplicate=True, seq=3)
    outcome = refuse_append(NewAppend(closes=True), **closed)
    assert outcome == StreamAppended(tail=TAIL, closed=True, duplicate=True)
