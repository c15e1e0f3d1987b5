"""Deadlines: in order, taken back at no cost, nothing left behind."""

from __future__ import annotations

import random

from trioslock.engine._deadlines import Deadlines


class Item:
    due = 0


def test_gives_buckets_in_order_and_items_in_order_of_arming() -> None:
    """Those of one millisecond come together."""
    deadlines: Deadlines[Item] = Deadlines()
    first, second, third = Item(), Item(), Item()
    deadlines.arm(second, 20)
    deadlines.arm(third, 20)
    deadlines.arm(first, 10)
    assert len(deadlines) == 3
    assert deadlines.next() == 10
    assert deadlines.pop() == [first]
    assert deadlines.pop() == [second, third]
    assert deadlines.next() is None
    assert deadlines.pop() == []


def test_what_is_taken_back_does_not_come() -> None:
    """Also when it is the whole bucket, and when it is armed again."""
    deadlines: Deadlines[Item] = Deadlines()
    item, other = Item(), Item()
    deadlines.disarm(item)
    deadlines.arm(item, 10)
    deadlines.disarm(item)
    assert item.due == 0
    assert deadlines.next() is None
    deadlines.arm(item, 10)
    deadlines.disarm(item)
    deadlines.arm(other, 10)
    assert deadlines.pop() == [other]


def test_one_of_a_bucket_at_work_can_be_taken_back() -> None:
    """The caller sees that its ``due`` has changed."""
    deadlines: Deadlines[Item] = Deadlines()
    first, second = Item(), Item()
    deadlines.arm(first, 10)
    deadlines.arm(second, 10)
    assert deadlines.pop() == [first, second]
    deadlines.disarm(second)
    assert second.due == 0


def test_a_million_taken_back_leave_next_to_nothing() -> None:
    """However many different times they had."""
    deadlines: Deadlines[Item] = Deadlines()
    keeper = Item()
    deadlines.arm(keeper, 5)
    for due in range(10, 10_000):
        item = Item()
        deadlines.arm(item, due)
        deadlines.disarm(item)
    assert deadlines.buckets < 200
    assert len(deadlines) == 1
    assert deadlines.next() == 5


def test_agrees_with_a_sorted_list() -> None:
    """Over random armings, disarmings and pops."""
    dice = random.Random(1)
    deadlines: Deadlines[Item] = Deadlines()
    armed: dict[Item, tuple[int, int]] = {}
    now = 0
    for serial in range(20_000):
        kind = dice.random()
        if kind < 0.5:
            item = Item()
            armed[item] = (now + dice.choice((1, 2, 3, 500, 3000)), serial)
            deadlines.arm(item, armed[item][0])
        elif armed and kind < 0.9:
            item = dice.choice([*armed][-20:])
            deadlines.disarm(item)
            del armed[item]
        else:
            first = min((due for due, _ in armed.values()), default=None)
            assert deadlines.next() == first
            items = [item for item, (due, _) in armed.items() if due == first]
            assert deadlines.pop() == items
            for item in items:
                now = max(now, armed.pop(item)[0])
    assert len(deadlines) == len(armed)
