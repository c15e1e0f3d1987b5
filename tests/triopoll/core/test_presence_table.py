"""The table of waits by key and subject."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
)

from triopoll.core.presence_table import Place, PresenceLimits, PresenceTable
from triopoll.store import Waiting

LIMITS = PresenceLimits(
    linger=10.0, change_delay=1.0, refresh=10.0, max_places=6, max_subjects=2
)


@pytest.fixture
def table() -> PresenceTable:
    return PresenceTable(LIMITS)


def joined(
    table: PresenceTable, key: str, subject: str | None, now: float = 0.0
) -> Place:
    place = table.join(key, subject, now)
    assert place is not None
    return place


def reports(table: PresenceTable, now: float) -> dict[str, Waiting]:
    return table.due(now, 100)


def test_a_join_is_reported_after_the_delay(table: PresenceTable) -> None:
    joined(table, "k", "ann")
    assert reports(table, 0.9) == {}
    assert reports(table, 1.0) == {"k": Waiting(("ann",), 0)}
    assert repr(table) == "<PresenceTable: 1 places on 1 keys>"


def test_an_unchanged_key_is_reported_regularly(table: PresenceTable) -> None:
    """So the store can forget the reports of a process that has died."""
    joined(table, "k", None)
    assert len(reports(table, 1.0)) == 1
    assert reports(table, 10.9) == {}
    assert reports(table, 11.0) == {"k": Waiting((), 1)}


@pytest.mark.parametrize("subject", ["ann", None])
def test_a_poll_that_follows_takes_the_lingering_place(
    table: PresenceTable, subject: str | None
) -> None:
    """A client that polls in a loop counts once, and causes no report."""
    place = joined(table, "k", subject)
    first = reports(table, 1.0)
    for now in (2.0, 3.0, 4.0):
        table.leave(place, now)
        place = joined(table, "k", subject, now + 0.5)
    assert reports(table, 10.9) == {}
    assert reports(table, 11.0) == first


def test_a_second_wait_of_a_subject_changes_nothing(table: PresenceTable) -> None:
    joined(table, "k", "ann")
    reports(table, 1.0)
    joined(table, "k", "ann", 2.0)
    assert reports(table, 3.0) == {}
    assert table.places == 2


def test_each_anonymous_wait_counts(table: PresenceTable) -> None:
    for now in (0.0, 0.1, 5.0):
        joined(table, "k", None, now)
        reports(table, now + 0.9)
    assert reports(table, 6.0) == {"k": Waiting((), 3)}


def test_another_subject_takes_no_place_over(table: PresenceTable) -> None:
    table.leave(joined(table, "k", "ann"), 0.0)
    joined(table, "k", "bob")
    assert reports(table, 1.0) == {"k": Waiting(("ann", "bob"), 0)}


def test_a_client_that_is_gone_leaves_after_the_linger(table: PresenceTable) -> None:
    """The report of nobody comes when the linger is over; the key is forgotten."""
    place = joined(table, "k", "ann")
    reports(table, 1.0)
    table.leave(place, 5.0)
    assert reports(table, 11.0) == {"k": Waiting(("ann",), 0)}
    assert reports(table, 14.9) == {}
    assert reports(table, 15.0) == {"k": Waiting()}
    assert (len(table), table.places) == (0, 0)
    assert reports(table, 99.0) == {}


def test_a_short_linger_is_over_before_the_next_report() -> None:
    table = PresenceTable(PresenceLimits(linger=2.0))
    place = joined(table, "k", "ann")
    reports(table, 1.0)
    table.leave(place, 3.0)
    assert reports(table, 4.9) == {}
    assert reports(table, 5.0) == {"k": Waiting()}


def test_one_wait_too_many_does_not_count(table: PresenceTable) -> None:
    """Those that linger count against the limit; who is counted may come back."""
    places = [joined(table, key, None) for key in "aabbcc"]
    table.leave(places[0], 0.0)
    assert table.join("d", None, 0.0) is None
    assert table.join("b", "ann", 0.0) is None
    assert table.join("a", None, 0.0) == Place("a", None)
    assert table.join("a", None, 0.0) is None
    assert len(table) == 3


def test_one_subject_too_many_counts_as_anonymous(table: PresenceTable) -> None:
    """The count stays right; the place is left as it was counted."""
    joined(table, "k", "ann")
    joined(table, "k", None)
    joined(table, "k", "bob")
    place = joined(table, "k", "eve")
    assert place == Place("k", None)
    table.leave(place, 0.5)
    assert reports(table, 1.0) == {"k": Waiting(("ann", "bob"), 2)}


def test_the_rest_is_due_at_the_next_call(table: PresenceTable) -> None:
    for key in "abc":
        joined(table, key, None)
    assert [*table.due(1.0, 2)] == ["a", "b"]
    assert [*table.due(1.0, 2)] == ["c"]
    assert table.due(1.0, 2) == {}


def test_failed_reports_are_repeated(table: PresenceTable) -> None:
    """That of a key on which nothing waits any more is not: the store forgets it."""
    joined(table, "k", "ann")
    table.leave(joined(table, "gone", "ann"), -9.5)
    failed = reports(table, 1.0)
    assert failed["gone"] == Waiting()
    table.repeat(failed, 1.0)
    assert reports(table, 1.9) == {}
    assert reports(table, 2.0) == {"k": Waiting(("ann",), 0)}


def test_a_pass_costs_what_is_due() -> None:
    """Polls of many keys in a loop leave no more behind than one report of each."""
    table = PresenceTable()
    places = [joined(table, f"{n}", "ann") for n in range(100)]
    for turn in range(50):
        now = turn / 10
        for n, place in enumerate(places):
            table.leave(place, now)
            places[n] = joined(table, f"{n}", "ann", now)
        table.due(now, 1000)
    assert len(table._due) == 100


class TableModel(RuleBasedStateMachine):
    """Compare what the reports say with a list of all waits that ever were."""

    def __init__(self) -> None:
        super().__init__()
        self.table = PresenceTable(
            PresenceLimits(linger=10.0, change_delay=1.0, refresh=10.0)
        )
        self.now = 0.0
        self.open: list[Place] = []
        # The places that linger, with their ends.
        self.lingering: list[tuple[float, Place]] = []
        # What a store would have.
        self.stored: dict[str, Waiting] = {}

    @rule(key=st.sampled_from("ab"), subject=st.sampled_from(["x", "y", None]))
    def join(self, key: str, subject: str | None) -> None:
        place = joined(self.table, key, subject, self.now)
        assert place == Place(key, subject)
        self.open.append(place)
        same = [each for each in self.lingering if each[1] == place]
        if same:
            self.lingering.remove(max(same, key=lambda each: each[0]))

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        place = data.draw(st.sampled_from(self.open))
        self.open.remove(place)
        self.table.leave(place, self.now)
        self.lingering.append((self.now + 10.0, place))

    @rule(seconds=st.sampled_from([0.5, 1.0, 4.0, 10.0]))
    def pass_time(self, seconds: float) -> None:
        """A report runs at least as often as a process runs one."""
        for _ in range(int(seconds * 2)):
            self.now += 0.5
            self.stored |= reports(self.table, self.now)
        self.lingering = [each for each in self.lingering if each[0] > self.now]

    @rule()
    def settle(self) -> None:
        """One delay after the last change, the store has each count."""
        self.pass_time(1.0)
        counted = Counter(self.open) + Counter(place for _, place in self.lingering)
        for key in "ab":
            found = self.stored.get(key, Waiting())
            named = tuple(each for each in "xy" if counted[Place(key, each)])
            assert found.subjects == named
            assert found.anonymous == counted[Place(key, None)]

    @invariant()
    def every_place_is_counted(self) -> None:
        assert self.table.places >= len(self.open) + len(self.lingering)
        assert len(self.table) <= 2


TestTableModel = TableModel.TestCase
TestTableModel.settings = settings(
    max_examples=40, stateful_step_count=30, deadline=None
)
