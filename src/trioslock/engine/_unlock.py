"""UNLOCK: release, withdrawal of a wait, return to the queue, trees.

The checks run in the server's order (results in parentheses):

1. There is no such database (3) or no such key (6).
2. The lock id holds the key: release it (0).
3. With FIRST, and another holder: release the first one, under its parameters (0).
4. With CANCEL_WAIT: end the newest wait of the lock id (5; the waiter gets 6). There
   is none (6).
5. Another lock id holds the key (7), or none does (6).

Source: snower/slock 2.1.12, ``server/db.go`` (``LockDB.UnLock``,
``cancelWaitLock``, ``addUnlockLockCommandToWaitLock``, ``unlockTreeLock``).
"""

from __future__ import annotations

from ..protocol import (
    DataStage,
    ExpiryFlag,
    LockCommand,
    LockFlag,
    ResultCode,
    TimeoutFlag,
    UnlockFlag,
)
from ._keyspace import Claim, EngineDatabase, Key, next_version
from ._peers import Peer
from ._table import Table, TableFullError

_FIRST = int(UnlockFlag.FIRST)
_CANCEL_WAIT = int(UnlockFlag.CANCEL_WAIT)
_TO_LOCK_WAIT = int(UnlockFlag.TO_LOCK_WAIT)
_TREE = int(UnlockFlag.TREE)
_LOCK_TREE = int(LockFlag.TREE)
_LOCK_DATA = int(LockFlag.DATA)
_PRIORITY = int(TimeoutFlag.RCOUNT_IS_PRIORITY)
_PUBLISH = int(TimeoutFlag.PUBLISH)
_VERSION = int(TimeoutFlag.LOCK_ID_IS_VERSION)
_LOG_AT_ONCE = int(ExpiryFlag.LOG_AT_ONCE)
_STAGE_UNLOCK = int(DataStage.UNLOCK)

_SUCCED = int(ResultCode.SUCCED)
_UNKNOWN_DB = int(ResultCode.UNKNOWN_DB)
_LOCKED_ERROR = int(ResultCode.LOCKED_ERROR)
_UNLOCK_ERROR = int(ResultCode.UNLOCK_ERROR)
_UNOWN_ERROR = int(ResultCode.UNOWN_ERROR)
_TIMEOUT = int(ResultCode.TIMEOUT)
_ERROR = int(ResultCode.ERROR)


def unlock(table: Table, owner: Peer, command: LockCommand) -> None:
    """Execute an UNLOCK and answer it."""
    db = table.keyspace.find(command.db)
    if db is None:
        table.answer(owner, command, _UNKNOWN_DB, 0, 0, None)
        return
    key = db.keys.get(command.key)
    if key is None:
        _fail(table, owner, db, command)
        return
    holder = key.holders.oldest(command.lock_id) if key.levels else None
    if holder is None:
        if key.levels and command.flag & _FIRST:
            holder = key.first_holder
            assert holder is not None
            held = holder.command
            command = _with_parameters(command._replace(lock_id=held.lock_id), held)
        elif command.flag & _CANCEL_WAIT:
            _cancel(table, owner, key, command)
            return
        else:
            code = _UNOWN_ERROR if key.levels else _UNLOCK_ERROR
            db.unlock_error_count += 1
            table.answer(owner, command, code, key.levels, 0, key.data)
            return
    # The real server drops the value of a lock that it logged at once with the lock.
    stays = not holder.command.expiry_flag & _LOG_AT_ONCE
    try:
        _release(table, owner, holder, command)
    except TableFullError:
        table.answer(owner, command, _ERROR, key.levels, holder.levels, key.data)
        return
    if key.waiting:
        table.wake(key)
    if not key.levels:
        table.free_if_unused(key, released=stays)


def _fail(table: Table, owner: Peer, db: EngineDatabase, command: LockCommand) -> None:
    db.unlock_error_count += 1
    data = table.kept_values.peek((db.number, command.key), table.wall_ms)
    table.answer(owner, command, _UNLOCK_ERROR, 0, 0, data)


def _with_parameters(command: LockCommand, source: LockCommand) -> LockCommand:
    """Return a command with the wait, lease and counts of another one."""
    return command._replace(
        timeout=source.timeout,
        timeout_flag=source.timeout_flag,
        expiry=source.expiry,
        expiry_flag=source.expiry_flag,
        max_count=source.max_count,
        rcount=source.rcount,
    )


def _release(table: Table, owner: Peer, holder: Claim, command: LockCommand) -> None:
    """Release one level or all; the caller wakes waiters and frees the key.

    Raises:
        TableFullError: The data operation is refused; nothing has changed.
    """
    levels = holder.levels
    # An rcount of 0 releases all levels at once. With PRIORITY it is no count.
    if levels > 1 and command.rcount and not command.timeout_flag & _PRIORITY:
        _release_level(table, owner, holder, command)
        return
    key = holder.key
    held = holder.command
    before = key.data
    requeued = None
    if command.flag & _TO_LOCK_WAIT and levels == 1:
        requeued = _requeue_command(command, held)
        # Before anything changes: a release that is refused must leave the holder.
        if requeued.timeout:
            table.check_room(key, table.waiters, table.limits.waiters)
    if command.data is not None:
        edge = key.levels == levels and not key.waiting
        table.operate(key, holder, command, edge=edge)
    table.remove_holder(holder)
    key.db.unlock_count += levels
    # After the removal: an entry that runs only on a free key checks the key.
    if holder.executes is not None:
        if held.flag & _LOCK_DATA:
            table.run_executes(holder, _STAGE_UNLOCK)
        table.drop_executes(holder)
    if requeued is not None:
        command = command._replace(lock_id=requeued.lock_id)
        _requeue(table, owner, key, requeued)
    elif command.flag & _TREE and _leave_tree(table, owner, key, held, command):
        return
    # Before the wake-up pass: the levels are those that the release has left.
    table.answer(owner, command, _SUCCED, key.levels, 0, before)


def _release_level(
    table: Table, owner: Peer, holder: Claim, command: LockCommand
) -> None:
    key = holder.key
    before = key.data
    if command.data is not None:
        table.operate(key, holder, command, edge=False)
    table.mark_changed(key)
    holder.levels -= 1
    key.levels -= 1
    key.db.unlock_count += 1
    key.db.locked_count -= 1
    table.answer(owner, command, _SUCCED, key.levels, holder.levels, before)


# Withdrawing a wait.


def _cancel(table: Table, owner: Peer, key: Key, command: LockCommand) -> None:
    """End the newest wait of a lock id: 5 for the canceller, 6 for the waiter.

    No other waiter is woken, even if this one has blocked it: so does the server.
    """
    waiter = None if key.waiters is None else key.waiters.newest(command.lock_id)
    if waiter is None:
        key.db.unlock_error_count += 1
        table.answer(owner, command, _UNLOCK_ERROR, key.levels, 0, key.data)
        return
    table.dequeue(waiter)
    key.db.unlock_count += 1
    table.answer(owner, command, _LOCKED_ERROR, key.levels, 0, key.data)
    table.answer(waiter.owner, waiter.command, _UNLOCK_ERROR, key.levels, 0, key.data)
    table.free_if_unused(key)


# Back to the queue.


def _requeue_command(command: LockCommand, held: LockCommand) -> LockCommand:
    """Return the LOCK of a holder with the UNLOCK's parameters."""
    lock_id = held.lock_id
    if held.timeout_flag & _VERSION:
        lock_id = next_version(lock_id)
    return _with_parameters(held._replace(lock_id=lock_id), command)


def _requeue(table: Table, owner: Peer, key: Key, requeued: LockCommand) -> None:
    """Queue a released lock again, as a wait of the peer that released it."""
    if requeued.timeout:
        table.enqueue(Claim(owner, requeued, key, table.second))
    elif requeued.timeout_flag & _PUBLISH:
        table.publish(requeued, _TIMEOUT, key, 0)


# Trees.


def _leave_tree(
    table: Table, owner: Peer, key: Key, held: LockCommand, command: LockCommand
) -> bool:
    """Answer the release of a tree's node, and go on with its parent if it is unused.

    A node whose only entry left is a link to its parent loses that entry; an empty
    node loses its entry in the parent. The engine sends these UNLOCKs itself, and the
    answer names what is unlocked next.

    Returns:
        Whether it was answered; if not, the node is still in use.
    """
    if key.levels > 1:
        return False
    first = key.first_holder
    if first is None:
        command = command._replace(key=held.lock_id, lock_id=held.key)
    elif first.command.flag & _LOCK_TREE:
        command = command._replace(lock_id=first.command.lock_id)
    else:
        return False
    table.answer(owner, command, _SUCCED, key.levels, 0, key.data)
    following = command._replace(request_id=table.new_id(), data=None)
    table.deferred.append((owner, following))
    return True
