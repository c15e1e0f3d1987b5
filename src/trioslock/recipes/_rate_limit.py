"""At most so many times in any period: a sliding window, counted by the server."""

from __future__ import annotations

from .._arguments import check_type
from ..client import Database, Key
from ..primitives import TokenBucket


def rate_limit(db: Database, key: Key, n: int, per: float) -> TokenBucket:
    """Return a limit of ``n`` times in any ``per`` seconds, over all clients.

    ``await limit.acquire()`` waits for its turn; ``await limit.try_acquire()`` raises
    `trio.WouldBlock` if it would have to wait.

    Args:
        db: The client, or a database of it.
        key: A name that all clients use, and nothing else.
        n: How many times, 1 to 65,535; all clients must agree on it.
        per: Seconds of the window; from 3 on rounded up to whole ones.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: The key is empty, or a number is out of range.
    """
    check_type(db, Database, "db", "a Client or a Database")
    return db.token_bucket(key, n, per, sliding=True)
