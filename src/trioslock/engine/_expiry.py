"""Waits and leases that end by their timers.

Source: snower/slock 2.1.12, ``server/db.go`` (``doTimeOut``, ``doExpried``,
``checkMillisecondExpried``, ``FlushDB``).
"""

from __future__ import annotations

from ..protocol import (
    DataStage,
    ExpiryFlag,
    LockCommand,
    LockFlag,
    ResultCode,
    TimeoutFlag,
)
from ._keyspace import Claim, EngineDatabase, Key
from ._table import Table
from ._times import EXACT_BELOW, renewal

_WAIT_KEEPALIVE = int(TimeoutFlag.KEEPALIVE)
_WAIT_PUBLISH = int(TimeoutFlag.PUBLISH)
_WAIT_REVERSE_KEY = int(TimeoutFlag.REVERSE_KEY)
_LEASE_KEEPALIVE = int(ExpiryFlag.KEEPALIVE)
_LEASE_PUBLISH = int(ExpiryFlag.PUBLISH)
_LEASE_REVERSE_KEY = int(ExpiryFlag.REVERSE_KEY)
_LOCK_DATA = int(LockFlag.DATA)
_STAGE_EXPIRY = int(DataStage.EXPIRY)
_TIMEOUT = int(ResultCode.TIMEOUT)
_EXPRIED = int(ResultCode.EXPRIED)


def fire(table: Table, claim: Claim) -> None:
    """Renew a claim whose timer has run out, or end its wait or lease."""
    claim.due = 0
    if claim.levels:
        if not _renews_lease(table, claim):
            end_lease(table, claim)
    elif not _renews_wait(table, claim):
        end_wait(table, claim)


def _renews_lease(table: Table, claim: Claim) -> bool:
    """Arm a lease again if it goes on; return whether it does.

    A timer of milliseconds first fires after the part below 3000; from then on a
    longer lease counts in seconds. The present command decides, whatever its unit: an
    update made meanwhile may end the lease here.
    """
    command = claim.command
    if claim.exact:
        claim.exact = False
        if command.expiry >= EXACT_BELOW:
            table.mark_changed(claim.key)
            claim.expires = claim.start + command.expiry // 1000 + 1
            table.arm_tick(claim, claim.expires)
            return True
        # Set again for `_last_data`.
        claim.exact = True
    if command.expiry_flag & _LEASE_KEEPALIVE and table.peers.keeps_alive(claim.owner):
        table.mark_changed(claim.key)
        claim.exact = False
        claim.expires = table.second + renewal(command.expiry, command.expiry_flag)
        table.arm_tick(claim, claim.expires)
        return True
    return False


def _renews_wait(table: Table, claim: Claim) -> bool:
    command = claim.command
    if command.timeout_flag & _WAIT_KEEPALIVE and table.peers.keeps_alive(claim.owner):
        claim.exact = False
        seconds = renewal(command.timeout, command.timeout_flag)
        table.arm_tick(claim, table.second + seconds)
        return True
    return False


def end_wait(table: Table, claim: Claim) -> None:
    """End a wait without a grant. No waiter is woken that this one has blocked."""
    key, command, exact = claim.key, claim.command, claim.exact
    table.dequeue(claim)
    key.db.timed_out_count += 1
    if command.timeout_flag & _WAIT_PUBLISH:
        table.publish(command, _TIMEOUT, key, 0)
    table.answer(claim.owner, command, _TIMEOUT, key.levels, 0, _last_data(key, exact))
    table.free_if_unused(key, released=exact)
    if command.timeout_flag & _WAIT_REVERSE_KEY:
        _lock_reversed(table, claim, command._replace(timeout_flag=0))


def end_lease(table: Table, claim: Claim) -> None:
    """End a lease with all its levels: notify its holder, then wake waiters."""
    key, command, levels = claim.key, claim.command, claim.levels
    table.remove_holder(claim)
    key.db.expired_count += 1
    if claim.executes is not None:
        if command.flag & _LOCK_DATA:
            table.run_executes(claim, _STAGE_EXPIRY)
        table.drop_executes(claim)
    if command.expiry_flag & _LEASE_PUBLISH:
        table.publish(command, _EXPRIED, key, levels)
    data = _last_data(key, claim.exact)
    table.answer(claim.owner, command, _EXPRIED, key.levels, 0, data)
    exact = claim.exact
    table.wake(key)
    table.free_if_unused(key, released=exact)
    if command.expiry_flag & _LEASE_REVERSE_KEY:
        command = command._replace(expiry_flag=0, expiry=command.timeout)
        _lock_reversed(table, claim, command)


def _last_data(key: Key, exact: bool) -> bytes | None:
    """Return the value in the result of an expiry.

    On the real server a timer of seconds has freed an unused key by then, one of
    milliseconds has not.
    """
    return key.data if exact or key.levels or key.waiting else None


def _lock_reversed(table: Table, claim: Claim, command: LockCommand) -> None:
    """Run a LOCK again on the key with its bytes reversed, without data."""
    # Deferred: the caller is in the middle of its own key and its waiters.
    command = command._replace(key=command.key[::-1], data=None)
    table.deferred.append((claim.owner, command))


def flush(table: Table, db: EngineDatabase) -> None:
    """End all waits and leases of a database, whatever keeps them; drop its values."""
    keys = list(db.keys.values())
    # Waits first: the end of a lease would grant the key to the next waiter.
    for key in keys:
        for claim in list(key.waiters or ()):
            end_wait(table, claim)
    for key in keys:
        for claim in list(key.holders):
            end_lease(table, claim)
    table.kept_values.drop_database(db.number)
