"""Results that were read and not yet delivered: one queue for each key.

A server can wake thousands of tasks at once, and their results arrive in one read. A
task that gets its result runs in the next pass of the scheduler, and all of them run
before any other task: a task that waits for another key would wait for thousands. So a
large read is delivered in batches, one result of each key in turn.

For its task, a result in this queue is one that has not been read: the task can still
be cancelled, as if the result were on the wire. Results of one key keep their order.
Results of different keys need none: their order in the stream says nothing about
which happened first.
"""

from __future__ import annotations

from collections import deque
from itertools import islice

from ..protocol import RESULT_KEY, CommandType, LockResult, Result

__all__ = ["FairQueue"]

_PUBLISH = int(CommandType.PUBLISH)
# Results without a key, and events of subscriptions whatever their key: a subscriber
# gets its events in the order of the stream.
_OTHERS = b""

Item = Result | bytes
"""A result, or the frame of a plain success, which is decoded only if it has to be."""


class FairQueue:
    """Results in order of arrival within each key, and round-robin between keys."""

    def __init__(self) -> None:
        # By key, in order of turns: the first is served next. No queue is empty. Equal
        # keys of two databases share one.
        self._queues: dict[bytes, deque[Item]] = {}

    def __repr__(self) -> str:
        return f"<FairQueue: {len(self)} results of {len(self._queues)} keys>"

    def __len__(self) -> int:
        return sum(map(len, self._queues.values()))

    def __bool__(self) -> bool:
        return bool(self._queues)

    def add(self, item: Item) -> None:
        """Append a result or frame to the queue of its key."""
        place = _OTHERS
        if type(item) is bytes:
            place = item[RESULT_KEY]
        elif isinstance(item, LockResult) and item.type != _PUBLISH:
            place = item.key
        queue = self._queues.get(place)
        if queue is None:
            self._queues[place] = deque((item,))
        else:
            queue.append(item)

    def take(self, count: int) -> list[Item]:
        """Remove and return ``count`` items or all there are, one a key in turn."""
        taken: list[Item] = []
        queues = self._queues
        while queues and len(taken) < count:
            # Over a copy of the keys: each one served moves to the end of the dict.
            for place in list(islice(queues, count - len(taken))):
                queue = queues.pop(place)
                taken.append(queue.popleft())
                if queue:
                    queues[place] = queue
        return taken
