"""A snapshot as text and as JSON."""

from __future__ import annotations

import json
from math import inf

import pytest

from trioslock import DatabaseState, Holder, MemberState, Role, Waiter
from trioslock.cli._snapshot import KeyState, Snapshot
from trioslock.cli._view import Table, record, view

WALL = 1_000_000.0


def state(grants: int = 0) -> DatabaseState:
    return DatabaseState(True, grants, 0, 1, 2, 0, 0, 0, 1)


def snapshot(at: float = 0.0, grants: int = 0, **more: object) -> Snapshot:
    holders = [Holder(bytes(16), 1, 1, None, WALL - 30, inf)]
    waiters = [Waiter(bytes([n]) * 16, WALL - n, WALL + 60) for n in (1, 2, 3)]
    keys = [KeyState(0, b"report".rjust(16, b"\0"), 1, holders, waiters)]
    fields = {"keys": keys, "held_keys": 1, "wall": WALL} | more
    return Snapshot(at, {0: state(grants)}, **fields)  # type: ignore[arg-type]


def text(now: Snapshot, before: Snapshot | None = None, **more: object) -> list[str]:
    shape = {"rows": 9, "key": None} | more
    return list(view("slock://a", now, before, **shape).text())  # type: ignore[arg-type]


def test_a_server_is_a_line_and_two_tables() -> None:
    lines = text(snapshot())
    assert lines[0].endswith(" slock://a: 1 held, 2 waiting")
    assert lines[2].split() == ["0", "1", "1", "2", "-", "-", "-"]
    assert lines[4].split() == ["0", "report", "1", "3", "30s", "3s"]
    assert len(lines) == 5


def test_one_key_is_its_holders_and_waiters() -> None:
    lines = text(snapshot(), key="report", rows=3)
    assert lines[4].split() == ["holds", "00" * 16, "1", "30s", "-"]
    assert lines[5].split() == ["waits", "01" * 16, "-", "1s", "60s"]
    assert lines[7] == "1 more"
    assert len(text(snapshot(), key="report", rows=4)) == 8


@pytest.mark.parametrize(
    ("at", "grants", "shown"), [(2.0, 30, "10.0"), (2.0, 5, "-"), (0.0, 30, "-")]
)
def test_rates_are_differences_by_time(at: float, grants: int, shown: str) -> None:
    """There is none when the server counts from 0 again."""
    before = snapshot(0.0, 10)
    assert text(snapshot(at, grants), before)[2].split()[4] == shown
    new = Snapshot(0.0, {})
    assert text(snapshot(at, grants), new)[2].split()[4] == "-"


def test_what_was_left_out_is_said() -> None:
    lines = text(snapshot(skipped=4, held_keys=9, unlisted=[3, 5]))
    assert "waiters of 4 of 9 keys not counted" in lines[0]
    assert "too many keys to list in 3, 5" in lines[0]


def test_an_error_and_the_members_are_safe_on_a_terminal() -> None:
    members = (
        MemberState(("a\x1b[31m", 1), Role.DOWN, error="lost\x07"),
        MemberState(("b", 2), Role.LEADER),
    )
    lines = text(snapshot(error="gone\x1b", members=members))
    assert [line.isprintable() for line in lines] == [True] * 3
    assert lines[0].endswith("slock://a: gone\\x1b")
    assert lines[1:] == ["a\\x1b[31m:1 down (lost\\x07)", "b:2 leader"]


def test_json_has_counts_and_for_one_key_the_lists() -> None:
    member = MemberState(("b", 2), Role.LEADER)
    now = snapshot(2.0, 30, members=(member,), leader=("b", 2))
    found = record(now, snapshot(0.0, 10), 2, None)
    read = json.loads(json.dumps(found, allow_nan=False))
    assert read["databases"]["0"]["per_second"]["grants"] == 10
    assert (read["leader"], read["members"][0]["role"]) == ("b:2", "leader")
    assert read["keys"][0]["waiters"] == 3
    assert read["keys"][0]["waiting_since"] == WALL - 3
    assert "held_by" not in read["keys"][0]
    one = json.loads(json.dumps(record(now, None, 2, "report"), allow_nan=False))
    assert one["keys"][0]["held_by"][0]["until"] is None
    assert len(one["keys"][0]["waited_for_by"]) == 2
    assert one["databases"]["0"]["per_second"]["grants"] is None


def test_columns_are_as_wide_as_their_cells() -> None:
    table = Table(("a", "b"), [("long", "x"), ("", "y")])
    assert list(table.lines()) == ["a     b", "long  x", "      y"]
