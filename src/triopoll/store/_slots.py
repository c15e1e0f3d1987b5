"""Where the keys of a Redis Cluster lie: the slot of a key, and a text for each slot.

What a script touches must lie in one slot. A key that a user has named lies where its
name says, so our keys beside it are named with a tag that leads there: `{TAG}` within a
name makes Redis hash the TAG alone.
"""

from __future__ import annotations

from functools import cache

from redis.crc import REDIS_CLUSTER_HASH_SLOTS as SLOTS
from redis.crc import key_slot

__all__ = ["SLOTS", "slot_of", "spread_tags", "tag_of"]


def slot_of(key: str | bytes) -> int:
    """Return the slot of a key."""
    return key_slot(key.encode() if isinstance(key, str) else key)


def tag_of(slot: int) -> str:
    """Return a short text, always the same, that lies in a slot."""
    return _tags()[slot]


def spread_tags(count: int) -> list[str]:
    """Return as many tags as given, in slots that are equally far from each other."""
    return [tag_of(SLOTS * n // count) for n in range(count)]


@cache
def _tags() -> dict[int, str]:
    """Return the smallest number for each slot; finding them takes 0.1 s, once."""
    tags: dict[int, str] = {}
    number = 0
    while len(tags) < SLOTS:
        text = str(number)
        tags.setdefault(key_slot(text.encode()), text)
        number += 1
    return tags
