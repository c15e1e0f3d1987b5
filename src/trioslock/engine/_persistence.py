"""What outlives the process: held keys, as they are saved and restored.

Only what is *held* is saved. Waiters, sessions, subscriptions, wills and counters
belong to connections, and those end with the process. A restored holder has no
connection: no notice is sent when its lease ends, and a keep-alive lease is not
renewed. Leases are kept in wall time, so the time that the process was away counts.

Source: snower/slock 2.1.12, ``server/aof.go`` (what is logged) and
``server/lock.go`` (``AddExpried`` on loading).
"""

from __future__ import annotations

from typing import NamedTuple

from ..protocol import ExpiryFlag, LockCommand
from ._keyspace import Claim, Key
from ._peers import Peer
from ._table import Table

_NEVER_LOG = int(ExpiryFlag.NEVER_LOG)


class SavedHolder(NamedTuple):
    """One holder of a key.

    Attributes:
        command: Its LOCK, without data.
        levels: Levels held.
        start: Wall second of the grant or of the last update.
        expires: Wall second at which the lease ends, as the engine counts it.
        due: Wall millisecond of a lease of milliseconds, 0 for all others.
    """

    command: LockCommand
    levels: int
    start: int
    expires: int
    due: int


class SavedKey(NamedTuple):
    """A key that is held, its value, and its holders in order of grant."""

    db: int
    name: bytes
    data: bytes | None
    holders: tuple[SavedHolder, ...]


def save(key: Key) -> SavedKey | None:
    """Return a key as it is saved, None if it is not.

    Holders with the flag NEVER_LOG are left out.
    """
    holders = tuple(
        _saved(claim)
        for claim in key.holders
        if not claim.command.expiry_flag & _NEVER_LOG
    )
    if not holders:
        return None
    return SavedKey(key.db.number, key.name, key.data, holders)


def _saved(claim: Claim) -> SavedHolder:
    due = claim.due if claim.exact else 0
    command = claim.command._replace(data=None)
    return SavedHolder(command, claim.levels, claim.start, claim.expires, due)


def restore(table: Table, saved: SavedKey, owner: Peer) -> None:
    """Hold a saved key; a lease that has ended meanwhile ends at the next tick.

    Args:
        table: A table without the key.
        saved: The key.
        owner: A peer that is closed.

    Raises:
        _table.TableFullError: It does not fit into the limits.
        ValueError: There is no such database, or the key is held already.
    """
    db = table.keyspace.open(saved.db)
    if db is None or saved.name in db.keys:
        raise ValueError(f"key {saved.name.hex()} of database {saved.db}")
    key = Key(db, saved.name)
    if saved.data is not None:
        table.reserve(len(saved.data))
        key.data = saved.data
    for holder in saved.holders:
        table.check_room(key, table.holders, table.limits.holders)
        claim = Claim(owner, holder.command, key, holder.start)
        claim.expires = holder.expires
        table.hold(claim, holder.levels, holder.due)
