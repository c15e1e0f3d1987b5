"""LOCK: decide between a grant, a wait and a refusal.

The checks run in the server's order, which shows in the results (in parentheses):

1. There is no such database (3).
2. With CONCURRENT_CHECK and no timeout: the key has more levels than the request
   allows, or is free and the request waits for an unlock (8).
3. With SHOW: the first holder's parameters, if the key is held (7). With SHOW and
   UPDATE the request is about the first holder.
4. The lock id holds the key: update it (5), add a level (0), or refuse (5).
5. Waiters block the request, unless its priority is above theirs. On a free key they
   block none, but a request with WAIT_WHEN_UNLOCKED always waits.
6. Not blocked, and within the counts: grant (0).
7. The lock id has a version below the first holder's: grant, with that version (0).
8. There is a timeout: wait. NOT_WHEN_DATA does not wait for a key with a value.
9. Refuse (8).

Source: snower/slock 2.1.12, ``server/db.go`` (``LockDB.Lock``).
"""

from __future__ import annotations

from ..protocol import (
    UNLIMITED_COUNT,
    ExpiryFlag,
    LockCommand,
    LockFlag,
    ResultCode,
    TimeoutFlag,
)
from ._keyspace import Claim, Key
from ._peers import Peer
from ._table import Table, TableFullError
from ._times import FOREVER, keeps_lease, lease_end

_MAX_LEVELS = 0xFF
_SHOW = int(LockFlag.SHOW)
_UPDATE = int(LockFlag.UPDATE)
_CONCURRENT_CHECK = int(LockFlag.CONCURRENT_CHECK)
_FROM_AOF = int(LockFlag.FROM_AOF)
_NOT_WHEN_DATA = int(TimeoutFlag.NOT_WHEN_DATA)
_PRIORITY = int(TimeoutFlag.RCOUNT_IS_PRIORITY)
_PUBLISH = int(TimeoutFlag.PUBLISH)
_WAIT_WHEN_UNLOCKED = int(TimeoutFlag.WAIT_WHEN_UNLOCKED)
_REQUIRE_ACKED = int(TimeoutFlag.REQUIRE_ACKED)
_VERSION = int(TimeoutFlag.LOCK_ID_IS_VERSION)
_LEASE_UNLIMITED = int(ExpiryFlag.UNLIMITED)
_LEASE_MILLISECONDS = int(ExpiryFlag.MILLISECONDS)
_LEASE_MINUTES = int(ExpiryFlag.MINUTES)
_NEVER_LOG = int(ExpiryFlag.NEVER_LOG)
_LOG_FLAGS = int(
    ExpiryFlag.LOG_AT_ONCE | ExpiryFlag.NEVER_LOG | ExpiryFlag.LOG_AFTER_PART
)

_SUCCED = int(ResultCode.SUCCED)
_UNKNOWN_DB = int(ResultCode.UNKNOWN_DB)
_LOCKED_ERROR = int(ResultCode.LOCKED_ERROR)
_UNOWN_ERROR = int(ResultCode.UNOWN_ERROR)
_TIMEOUT = int(ResultCode.TIMEOUT)
_ERROR = int(ResultCode.ERROR)


def lock(table: Table, owner: Peer, command: LockCommand) -> None:
    """Execute a LOCK: answer it, or let it wait."""
    db = table.keyspace.open(command.db)
    if db is None:
        table.answer(owner, command, _UNKNOWN_DB, 0, 0, None)
        return
    key = table.find_or_make(db, command.key)
    if command.flag & _CONCURRENT_CHECK and _fails_early(key, command):
        data = key.data if key.levels else None
        table.answer(owner, command, _TIMEOUT, key.levels, 0, data)
        table.free_if_unused(key)
        return
    try:
        _decide(table, owner, key, command)
    except TableFullError:
        table.answer(owner, command, _ERROR, key.levels, 0, key.data)
    if not key.levels:
        table.free_if_unused(key)


def _fails_early(key: Key, command: LockCommand) -> bool:
    """Return whether check 2 refuses: no room, or nothing to wait for."""
    if command.timeout:
        return False
    if command.max_count < UNLIMITED_COUNT and key.levels > command.max_count:
        return True
    return not key.levels and bool(command.timeout_flag & _WAIT_WHEN_UNLOCKED)


def _decide(table: Table, owner: Peer, key: Key, command: LockCommand) -> None:
    if key.levels:
        if _meets_holder(table, owner, key, command):
            return
        blocked = key.waiting > 0
    elif command.timeout_flag & _WAIT_WHEN_UNLOCKED:
        if key.waiting and not command.max_count:
            table.answer(owner, command, _UNOWN_ERROR, 0, 0, key.data)
            return
        blocked = True
    else:
        # The waiters of a free key wait for an unlock (events), not for their turn.
        blocked = False
    if (not blocked or key.may_pass(command)) and key.fits(command):
        _grant(table, owner, key, command)
    elif command.timeout_flag & _VERSION and key.is_behind(command):
        _catch_up(table, owner, key, command)
    elif command.timeout and not (
        command.timeout_flag & _NOT_WHEN_DATA and key.data is not None
    ):
        table.enqueue(Claim(owner, command, key, table.second))
    else:
        if command.timeout_flag & _PUBLISH:
            table.publish(command, _TIMEOUT, key, 0)
        table.answer(owner, command, _TIMEOUT, key.levels, 0, key.data)


def _grant(table: Table, owner: Peer, key: Key, command: LockCommand) -> None:
    # This grant may let waiters in: a first holder's count is one that they must fit.
    wakes = key.waiting > 0
    if not command.expiry:
        table.grant_at_once(key, owner, command)
    else:
        if command.timeout_flag & _REQUIRE_ACKED and _awaits_ack(key, command):
            wakes = False
        table.grant(Claim(owner, command, key, table.second))
    if wakes:
        table.wake(key)


def _awaits_ack(key: Key, command: LockCommand) -> bool:
    """Return whether a grant waits for other nodes to acknowledge it.

    A single node acknowledges at once. All that remains is that such a grant is not
    followed by a wake-up pass. The first holder decides whether a key is logged at
    all: without a log nothing is acknowledged.
    """
    if command.flag & _FROM_AOF:
        return False
    first = key.first_holder
    flags = command.expiry_flag if first is None else first.command.expiry_flag
    return flags & _LOG_FLAGS != _NEVER_LOG


def _catch_up(table: Table, owner: Peer, key: Key, command: LockCommand) -> None:
    """Grant to a version older than the holder's at once; answer with the newer."""
    first = key.first_holder
    assert first is not None
    before = key.data
    if command.data is not None:
        claim = Claim(owner, command, key, table.second)
        table.operate(key, claim, command, edge=key.levels == 1)
        table.drop_executes(claim)
    # No level is added: the caller holds nothing and learns the present version.
    key.db.lock_count += 1
    command = command._replace(lock_id=first.command.lock_id)
    table.answer(owner, command, _SUCCED, key.levels, 0, before)


# A key that is held.


def _meets_holder(table: Table, owner: Peer, key: Key, command: LockCommand) -> bool:
    """Answer a request that a holder decides; return whether one did."""
    if command.flag & _SHOW:
        first = key.first_holder
        assert first is not None
        command = command._replace(lock_id=first.command.lock_id)
        if not command.flag & _UPDATE:
            _show(table, owner, key, command)
            return True
    holder = key.holders.oldest(command.lock_id)
    if holder is None:
        return False
    if command.flag & _UPDATE:
        _update(table, owner, holder, command)
    elif (
        holder.levels <= command.rcount
        and holder.levels < _MAX_LEVELS
        and not command.timeout_flag & _PRIORITY
    ):
        _reenter(table, owner, holder, command)
    else:
        table.answer(owner, command, _LOCKED_ERROR, key.levels, holder.levels, key.data)
    return True


def _show(table: Table, owner: Peer, key: Key, command: LockCommand) -> None:
    first = key.first_holder
    assert first is not None
    command = command._replace(
        max_count=first.command.max_count, rcount=first.command.rcount
    )
    table.answer(owner, command, _UNOWN_ERROR, key.levels, first.levels, key.data)


def _reenter(table: Table, owner: Peer, holder: Claim, command: LockCommand) -> None:
    key = holder.key
    before = key.data
    # A lease of 0 is over at once: it is answered and adds no level.
    if command.expiry:
        if command.data is not None:
            table.operate(key, holder, command, edge=False)
        holder.levels += 1
        key.levels += 1
        key.db.lock_count += 1
        key.db.locked_count += 1
        _replace_command(table, owner, holder, command)
    table.answer(owner, command, _SUCCED, key.levels, holder.levels, before)


def _update(table: Table, owner: Peer, holder: Claim, command: LockCommand) -> None:
    """Replace a holder's parameters; one that would change nothing is dropped.

    The answer carries the value from before the update's own operation, except
    that of an acknowledged update.
    """
    key = holder.key
    data = key.data
    if command.data is not None:
        table.operate(key, holder, command, edge=key.levels == 1, anew=True)
    elif _changes_nothing(table, holder, command):
        table.answer(owner, command, _LOCKED_ERROR, key.levels, holder.levels, data)
        return
    _replace_command(table, owner, holder, command)
    if command.timeout_flag & _REQUIRE_ACKED and _awaits_ack(key, command):
        data = key.data
    table.answer(owner, command, _LOCKED_ERROR, key.levels, holder.levels, data)


def _replace_command(
    table: Table, owner: Peer, holder: Claim, command: LockCommand
) -> None:
    if command.data is not None:
        command = command._replace(data=None)
    table.mark_changed(holder.key)
    holder.command = command
    # Notices go to the peer that has sent the latest command about the grant.
    holder.owner = owner
    if not keeps_lease(command):
        table.restart_lease(holder)


def _changes_nothing(table: Table, holder: Claim, command: LockCommand) -> bool:
    """Compare an update with the holder: counts, priority flag and end of lease.

    The end may differ by a second (a minute in minutes). With the millisecond
    flag, or unlimited with 0xffff, it is not compared at all.
    """
    old = holder.command
    if (
        command.max_count != old.max_count
        or command.rcount != old.rcount
        or (command.timeout_flag ^ old.timeout_flag) & _PRIORITY
    ):
        return False
    flags = command.expiry_flag
    if flags & _LEASE_UNLIMITED:
        return keeps_lease(command) or holder.expires == FOREVER
    if flags & _LEASE_MILLISECONDS:
        return True
    tolerance = 60 if flags & _LEASE_MINUTES else 1
    return abs(lease_end(command, table.second) - holder.expires) <= tolerance
