"""Results that have been read and wait for their turn: a queue for each key.

A server can wake thousands at once, and their results come in one go. Whoever is
woken runs in the next pass of the scheduler, all of them before anything else gets to
run: a lone task on another key would wait for thousands. So a crowd's results are
handed out a few at a time, each key in its turn.

A result that waits here is, to the task that it is for, one that has not been read
yet: the task may be cancelled as if it were still on the wire. The order of results
of one key is kept. Between keys there is none to keep: what a server tells of two of
them says nothing about which came first.
"""

from __future__ import annotations

from collections import deque

from ..protocol import CommandType, LockResult, Result

__all__ = ["Backlog"]

_PUBLISH = int(CommandType.PUBLISH)
# What is of no key; and what was published, whatever its key is: subscribers are told
# in order.
_OTHERS = (-1, b"")


class Backlog:
    """Results in the order of their arrival, but for each key by itself."""

    def __init__(self) -> None:
        self._queues: dict[tuple[int, bytes], deque[Result]] = {}

    def __repr__(self) -> str:
        return f"<Backlog: {len(self)} results of {len(self._queues)} keys>"

    def __len__(self) -> int:
        return sum(map(len, self._queues.values()))

    def __bool__(self) -> bool:
        return bool(self._queues)

    def add(self, result: Result) -> None:
        """Put a result behind the others of its key."""
        place = _OTHERS
        if isinstance(result, LockResult) and result.type != _PUBLISH:
            place = (result.db, result.key)
        queue = self._queues.get(place)
        if queue is None:
            queue = self._queues[place] = deque()
        queue.append(result)

    def take(self, count: int) -> list[Result]:
        """Return so many results, or all there are, one of each key in turn."""
        taken: list[Result] = []
        queues = self._queues
        while queues and len(taken) < count:
            for place in list(queues)[: count - len(taken)]:
                queue = queues.pop(place)
                taken.append(queue.popleft())
                if queue:
                    queues[place] = queue  # behind those whose turn has not come
        return taken
