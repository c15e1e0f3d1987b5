"""The items of a wait: which are logs, which is ready, and the kind of the wait."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from triopoll.core.parked_waits import WaitedKey
from triopoll.core.wait_items import (
    EventItem,
    EventState,
    GroupItem,
    GroupState,
    Item,
    LogItem,
    ReadResult,
    WaitSet,
)
from triopoll.ops.metrics import Kind
from triopoll.store import Page, StoredMessage

ITEMS = [
    EventItem("e"),
    LogItem("k", "1", 5),
    GroupItem("g", 7),
    LogItem("k", "2", 5),
    LogItem("l", "new", 9),
    GroupItem("h"),
]


def test_nothing_is_ready_at_first() -> None:
    """Each item starts where its request says."""
    wait_set = WaitSet(ITEMS)
    assert not any(state.ready for state in wait_set.states)
    assert [wait_set.cursor(index) for index in wait_set.logs] == ["1", "2", "new"]
    assert [wait_set.version(index) for index in (2, 5)] == [7, 0]
    assert (wait_set.ready, wait_set.failure) == (False, None)
    assert not wait_set.lacks_cursor


def test_logs_and_signals_by_index() -> None:
    """A log may be read from several cursors."""
    wait_set = WaitSet(ITEMS)
    assert wait_set.logs == [1, 3, 4]
    assert wait_set.signals == [0, 2, 5]
    assert wait_set.log_keys == ["k", "k", "l"]
    assert wait_set.indexes_of("k") == [1, 3]
    assert wait_set.indexes_of("e") == []
    assert wait_set.log(3) == LogItem("k", "2", 5)
    assert wait_set.signal(2) == GroupItem("g", 7)


def test_one_ready_item_makes_the_wait_ready() -> None:
    """It stays so, whatever is recorded afterwards."""
    wait_set = WaitSet(ITEMS)
    wait_set.update(0, EventState(ready=False))
    assert not wait_set.ready
    wait_set.update(2, GroupState(ready=True, version=8))
    wait_set.update(1, ReadResult(Page((), "3")))
    assert wait_set.ready
    assert wait_set.version(2) == 8
    assert wait_set.cursor(1) == "3"


@pytest.mark.parametrize(
    ("page", "ready"),
    [
        (Page((), "1"), False),
        (Page((), "1", gap=True), True),
        (Page((StoredMessage("2", b"x", 0.0),), "2"), True),
    ],
)
def test_messages_and_gaps_make_a_log_ready(page: Page, ready: bool) -> None:
    """A page with neither means that nothing is new."""
    assert ReadResult(page).ready == ready


@pytest.mark.parametrize(
    ("items", "kind"),
    [
        ([LogItem("k", "1", 5)], "log"),
        ([LogItem("k", "1", 5), EventItem("e")], "event"),
        ([EventItem("e"), GroupItem("g")], "group"),
    ],
)
def test_the_kind_of_a_wait(items: Sequence[Item], kind: Kind) -> None:
    """In the metrics, a signal counts before a log, a group before an event."""
    assert WaitSet(items).kind == kind


def test_what_operators_see_of_a_wait() -> None:
    """Each key, with how far it was read: a cursor, a version, or nothing."""
    assert WaitSet(ITEMS).waited_keys() == (
        WaitedKey("e"),
        WaitedKey("k", "1"),
        WaitedKey("g", "7"),
        WaitedKey("k", "2"),
        WaitedKey("l", "new"),
        WaitedKey("h", "0"),
    )
