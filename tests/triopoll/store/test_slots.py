"""Slots of a Redis Cluster."""

import pytest

from triopoll.store._slots import SLOTS, slot_of, spread_tags, tag_of


@pytest.mark.parametrize(("key", "slot"), [("123456789", 12739), ("foo", 12182)])
def test_the_slot_of_a_key(key: str, slot: int) -> None:
    """As the specification of Redis Cluster has it, of text and bytes."""
    assert slot_of(key) == slot_of(key.encode()) == slot
    assert slot_of(f"anything{{{key}}}anything") == slot


def test_each_slot_has_a_tag() -> None:
    """A name with the tag in braces lies in the slot."""
    for slot in (0, 1, 8191, SLOTS - 1):
        assert slot_of(f"p:{{{tag_of(slot)}}}:log") == slot


def test_spread_tags_lie_far_apart() -> None:
    """Equally far from each other."""
    slots = [slot_of(tag) for tag in spread_tags(16)]
    assert slots == [n * SLOTS // 16 for n in range(16)]
