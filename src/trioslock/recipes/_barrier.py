"""Parties that wait until so many of them have arrived.

Each party holds a place under the key while it waits, so one that is killed is not
counted once its lease has ended. Whoever finds enough places taken sets an event, for
which all wait. The event stays set, so a barrier is used once: that needs no order
between the parties that leave and those that come for the next time (in Curator's
reusable barrier they meet: apache/curator#838).
"""

from __future__ import annotations

from .._arguments import check_int, check_seconds, check_type
from .._errors import LockLost
from ..client import Database, Key
from ..primitives import Lease
from ._keys import DEFAULT_LEASE, derived_key

_MOST = 65_535


async def barrier(
    db: Database,
    key: Key,
    parties: int,
    *,
    keep: float = 3600.0,
    lease: Lease = DEFAULT_LEASE,
) -> None:
    """Wait until ``parties`` of them wait, this one included.

    It opens once: a party that comes later passes at once. Use a key for each time.

    Args:
        db: The client, or a database of it.
        key: A name that all parties use, and nothing else.
        parties: How many, 1 to 65,535.
        keep: Seconds for which the barrier stays open. After that the key can be used
            again.
        lease: Seconds after which a party that was killed, frozen or cut off does not
            count any more; or `SESSION`, see `Database`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: The key is empty, or a number is out of range.
        ConnectionLost: The client does not reconnect.
        NoLeader: The server cannot reach a leader of its replica set.
        trio.ClosedResourceError: The client is closed.

    Cancellation:
        This party does not count any more, unless all had arrived before.
    """
    check_type(db, Database, "db", "a Client or a Database")
    check_int(parties, "parties", 1, _MOST)
    check_seconds(keep, "keep")
    places = db.semaphore(key, _MOST, lease=lease)
    opened = db.event(derived_key(key, "barrier"), ttl=keep)
    while not await opened.is_set():
        try:
            async with places:
                # The last to arrive sees all places, whoever looks at the same time.
                if await places.in_use() >= parties:
                    await opened.set()
                await opened.wait()
        except LockLost:
            # It was cut off for too long, and arrives again.
            continue
