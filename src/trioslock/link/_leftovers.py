"""What the nodes of a replica set may still keep of a client.

A leader that steps down keeps the waiters and the holders that were not in its log,
and no command reaches them while it is a follower: it forwards an UNLOCK to the new
leader. So they are noted here by node, and undone when that node gets the requests
again. Waits and session leases also end by themselves with their connection; a lease
in seconds would block the key for the rest of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from ..protocol import LockCommand
from ._requester import attempt_of
from ._topology import Address

LEFTOVER_LIMIT = 4096
"""Most attempts that are kept for each node; the oldest are forgotten first."""


class Leftovers:
    """Attempts made over connections that have ended, by node."""

    def __init__(self) -> None:
        self._attempts: dict[Address, dict[bytes, LockCommand]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._attempts.values()))

    def note(self, address: Address, commands: Iterable[LockCommand]) -> None:
        """Keep the attempts among some commands that were sent to a node."""
        kept = self._attempts.setdefault(address, {})
        for command in commands:
            # A lock id of the caller's own choice may stand for a later grant too.
            if command.lock_id == attempt_of(command.request_id):
                kept.pop(command.lock_id, None)
                kept[command.lock_id] = command
        for lock_id in list(islice(kept, max(0, len(kept) - LEFTOVER_LIMIT))):
            del kept[lock_id]

    def take(self, address: Address) -> list[LockCommand]:
        """Return the attempts to undo at a node, and forget them."""
        return list(self._attempts.pop(address, {}).values())
