"""The marks of many logs or states, read with one script for each place in Redis."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ._executors import Command
from ._names import Layout, Names
from ._pipeliner import Pipeliner

__all__ = ["read_heads"]

# Keys that one script reads: Redis serves no other command meanwhile.
_HEADS_AT_ONCE = 256


async def read_heads(
    pipeliner: Pipeliner,
    layout: Layout,
    keys: Sequence[str],
    command: Callable[[Names, Sequence[str]], Command],
) -> list[str]:
    """Return a mark for each key, in order.

    Args:
        pipeliner: Sends the commands.
        layout: Says which keys lie together.
        keys: Of logs or of states.
        command: Returns the command that reads the marks of keys that lie together.

    Raises:
        StoreError: They could not be read.

    Cancellation:
        Nothing is left behind.
    """
    places: dict[Names, list[int]] = {}
    for place, key in enumerate(keys):
        places.setdefault(layout.of_log(key), []).append(place)
    parts = [
        (names, some[start : start + _HEADS_AT_ONCE])
        for names, some in places.items()
        for start in range(0, len(some), _HEADS_AT_ONCE)
    ]
    commands = [command(names, [keys[at] for at in some]) for names, some in parts]
    marks: dict[int, str] = {}
    replies = await pipeliner.call_many(commands)
    for (_, some), reply in zip(parts, replies, strict=True):
        marks |= zip(some, (mark.decode() for mark in reply), strict=True)
    return [marks[place] for place in range(len(keys))]
