"""The table: all claims, and the steps of which every decision is made.

`_lock`, `_unlock` and `_expiry` decide; the steps are here: a claim becomes a holder,
waits, leaves; a key's value changes; a wake-up pass runs; a result goes out. Replies
are collected in order in ``replies`` until the engine returns them. Commands that the
engine itself starts (EXECUTE, reversed keys, trees) are queued in ``deferred`` and run
after the present command.

Limits are checked before anything changes: `TableFullError` leaves the table as it
was.

Source: snower/slock 2.1.12, ``server/db.go`` and ``server/lock.go``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from ..protocol import (
    FRAME_SIZE,
    DataStage,
    ExpiryFlag,
    LockCommand,
    ResultCode,
    TimeoutFlag,
)
from ._deadlines import Deadlines
from ._kept_values import KEPT_MS, KeptValues
from ._keyspace import Claim, EngineDatabase, Key, Keyspace
from ._peers import Peer, Peers
from ._subscriptions import Subscriptions
from ._times import EXACT_BELOW, FOREVER, lease_end, wait_end
from ._types import EngineLimits, Reply, lock_result
from ._values import Execute, ValueChange, ValueTooLargeError, operate

_SUCCED = int(ResultCode.SUCCED)
_ERROR = int(ResultCode.ERROR)
_EXPRIED = int(ResultCode.EXPRIED)
_LEASE_MILLISECONDS = int(ExpiryFlag.MILLISECONDS)
_LEASE_PUBLISH = int(ExpiryFlag.PUBLISH)
_WAIT_MILLISECONDS = int(TimeoutFlag.MILLISECONDS)
_UNRENEW = int(TimeoutFlag.UNRENEW)
_STAGE_NOW = int(DataStage.NOW)


class TableFullError(Exception):
    """A limit refuses the request; nothing has changed."""


class Table:
    """Claims of all databases, their timers, and the replies of one call.

    Attributes:
        second: The wall second of this call.
        wall_ms: The wall millisecond of this call, rounded down.
        replies: The replies of this call so far.
        deferred: Commands that the engine starts, each with its owner.
        keys: Keys held or waited for.
        holders: Holders of all keys.
        waiters: Waiters of all keys.
        data_bytes: Bytes of data frames kept, without those of free keys.
        kept_values: Values of keys that have just been released.
        changed: Keys (database and name) whose holders or value have changed since
            ``Engine.take_changes``; None before ``Engine.watch_changes``.
    """

    def __init__(
        self,
        limits: EngineLimits,
        peers: Peers,
        subscriptions: Subscriptions,
        new_id: Callable[[], bytes],
    ) -> None:
        self.limits = limits
        self.peers = peers
        self.subscriptions = subscriptions
        self.new_id = new_id
        self.keyspace = Keyspace()
        self.kept_values = KeptValues()
        self.deadlines: Deadlines[Claim] = Deadlines()
        self.deferred: deque[tuple[Peer, LockCommand]] = deque()
        self.replies: list[Reply] = []
        self.second = 0
        self.wall_ms = 0
        self.keys = 0
        self.holders = 0
        self.waiters = 0
        self.data_bytes = 0
        self.changed: set[tuple[int, bytes]] | None = None

    # Results.

    def answer(
        self,
        owner: Peer,
        command: LockCommand,
        code: int,
        lcount: int,
        levels: int,
        data: bytes | None,
    ) -> None:
        """Send the result of a LOCK or UNLOCK to its owner or the owner's successor."""
        recipient = owner if owner.open else self.peers.recipient(owner)
        if recipient is None:
            return
        result = lock_result(command, code, lcount, levels, data)
        self.replies.append(Reply(recipient.id, result))

    def publish(self, command: LockCommand, code: int, key: Key, levels: int) -> None:
        """Send an event to the subscribers of a key."""
        if self.subscriptions:
            self.replies.extend(
                self.subscriptions.publish(command, code, key.levels, levels, key.data)
            )

    # Holders.

    def mark_changed(self, key: Key) -> None:
        """Note that a key's holders or its value have changed."""
        if self.changed is not None:
            self.changed.add((key.db.number, key.name))

    def grant(self, claim: Claim) -> None:
        """Make a claim a holder of its key, and answer it.

        Raises:
            TableFullError: A limit is reached.
        """
        key = claim.key
        self.check_room(key, self.holders, self.limits.holders)
        # A result has the value from before the command's own operation.
        before = key.data
        if claim.command.data is not None:
            # First, because it may fail: then the claim is no holder.
            self.operate(key, claim, claim.command, edge=not key.levels)
            claim.command = claim.command._replace(data=None)
        self._register(key)
        self.mark_changed(key)
        claim.levels = 1
        key.levels += 1
        key.holders.append(claim)
        self.holders += 1
        # Counts of STATE: grants so far, and levels held now.
        db = key.db
        db.lock_count += 1
        db.locked_count += 1
        self._start_lease(claim)
        self.answer(claim.owner, claim.command, _SUCCED, key.levels, 1, before)

    def hold(self, claim: Claim, levels: int, due: int) -> None:
        """Make a claim a holder again, for a lease that began before.

        Args:
            claim: With its end in ``expires``.
            levels: Levels that it holds.
            due: Wall millisecond at which a lease of milliseconds ends, 0 for all
                others.
        """
        key = claim.key
        self._register(key)
        claim.levels = levels
        key.levels += levels
        key.holders.append(claim)
        self.holders += 1
        key.db.locked_count += levels
        if due:
            claim.exact = True
            self.deadlines.arm(claim, due)
        elif claim.expires != FOREVER:
            self.arm_tick(claim, claim.expires)

    def grant_at_once(self, key: Key, owner: Peer, command: LockCommand) -> None:
        """Grant and release in one step (a lease of zero).

        Raises:
            TableFullError: A limit is reached.
        """
        before = key.data
        if command.data is not None:
            # Entries for later stages are dropped: there will be no holder.
            claim = Claim(owner, command, key, self.second)
            self.operate(key, claim, command, edge=key.levels == 1)
            self.drop_executes(claim)
        key.db.lock_count += 1
        if command.expiry_flag & _LEASE_PUBLISH:
            self.publish(command, _EXPRIED, key, 0)
        self.answer(owner, command, _SUCCED, key.levels, 0, before)

    def remove_holder(self, claim: Claim) -> None:
        """Remove a holder with all its levels, without a notice or a wake-up."""
        key = claim.key
        self.mark_changed(key)
        self.deadlines.disarm(claim)
        key.holders.remove(claim)
        key.levels -= claim.levels
        key.db.locked_count -= claim.levels
        self.holders -= 1

    # Waiters.

    def enqueue(self, claim: Claim) -> None:
        """Make a claim wait for its key.

        Raises:
            TableFullError: A limit is reached.
        """
        key, command = claim.key, claim.command
        self.check_room(key, self.waiters, self.limits.waiters)
        if command.data is not None:
            self.reserve(len(command.data))
        self._register(key)
        key.enqueue(claim)
        self.waiters += 1
        key.db.wait_count += 1
        self._start_wait(claim)

    def dequeue(self, claim: Claim) -> None:
        """Remove a waiter, without an answer or a wake-up."""
        key = claim.key
        self.deadlines.disarm(claim)
        # The flag was about the timer of the wait; a lease sets it anew.
        claim.exact = False
        key.dequeue(claim)
        self.waiters -= 1
        key.db.wait_count -= 1
        if claim.command.data is not None:
            self.data_bytes -= len(claim.command.data)

    def wake(self, key: Key) -> None:
        """Grant to waiters from the head of the queue as long as they fit."""
        while key.waiting:
            assert key.waiters is not None
            claim = key.waiters.head
            assert claim is not None
            if not key.fits(claim.command):
                return
            # Out of the queue first: a grant that fails must not be tried again.
            self.dequeue(claim)
            try:
                if claim.command.expiry:
                    self.grant(claim)
                else:
                    self.grant_at_once(key, claim.owner, claim.command)
            except TableFullError:
                self.answer(claim.owner, claim.command, _ERROR, key.levels, 0, key.data)

    # Keys.

    def find_or_make(self, db: EngineDatabase, name: bytes) -> Key:
        """Return a key of a database, made for this request if it is free."""
        key = db.keys.get(name)
        if key is None:
            key = Key(db, name)
            if self.kept_values:
                self._take_kept(key)
        return key

    def _take_kept(self, key: Key) -> None:
        kept = self.kept_values.take((key.db.number, key.name), self.wall_ms)
        # A kept value never keeps a new one out: where there is no room, it goes.
        if kept and self.data_bytes + len(kept[0]) <= self.limits.data_total:
            key.data, key.data_until = kept
            self.data_bytes += len(key.data)

    def free_if_unused(self, key: Key, *, released: bool = True) -> None:
        """Forget a key if it has neither holder nor waiter.

        Args:
            key: The key.
            released: Whether its value stays readable for a moment.
        """
        if key.levels or key.waiting:
            return
        # A key of a refused request can have a value and never be in its database.
        registered = key.name in key.db.keys
        if key.data is not None:
            self.data_bytes -= len(key.data)
            # Reading the value of a free key does not move its end.
            until = self.wall_ms + KEPT_MS if registered else key.data_until
            if released:
                place = (key.db.number, key.name)
                self.kept_values.keep(place, key.data, until, self.wall_ms)
            key.data = None
        if registered:
            key.db.free(key, self.second)
            self.keys -= 1

    def _register(self, key: Key) -> None:
        if not key.levels and not key.waiting and key.name not in key.db.keys:
            key.db.keys[key.name] = key
            self.keys += 1

    def check_room(self, key: Key, claims: int, limit: int) -> None:
        """Check that one more claim of a kind may be kept, and its key.

        Raises:
            TableFullError: A limit is reached.
        """
        if claims >= limit or (
            self.keys >= self.limits.keys and key.name not in key.db.keys
        ):
            raise TableFullError

    # Values.

    def operate(
        self,
        key: Key,
        claim: Claim,
        command: LockCommand,
        *,
        edge: bool,
        anew: bool = False,
    ) -> None:
        """Apply a command's data frame to its key's value.

        Args:
            key: The key.
            claim: Keeps EXECUTE entries of later stages; its owner owns those of now.
            command: A LOCK or an UNLOCK.
            edge: Whether this is the first lock or the last unlock.
            anew: Whether to drop the entries that the claim has kept so far.

        Raises:
            TableFullError: The value, or what is kept in all, would be too large.
        """
        assert command.data is not None
        limit = self.limits.data_size
        try:
            change = operate(
                key.data, command.data, db=command.db, limit=limit, edge=edge
            )
        except ValueTooLargeError:
            raise TableFullError from None
        kept = [each for each in change.executes if each.stage != _STAGE_NOW]
        before = 0 if key.data is None else len(key.data)
        after = 0 if change.value is None else len(change.value)
        # The only step that can fail; nothing has changed before it.
        self.reserve(after - before + sum(map(_size_of, kept)))
        key.data = change.value
        self.mark_changed(key)
        if anew:
            self.drop_executes(claim)
        if change.executes:
            self._take_executes(claim, change, kept)

    def _take_executes(
        self, claim: Claim, change: ValueChange, kept: list[Execute]
    ) -> None:
        for execute in change.executes:
            if execute.stage == _STAGE_NOW:
                self.deferred.append((claim.owner, execute.command))
        if kept:
            claim.executes = (claim.executes or []) + kept

    def reserve(self, size: int) -> None:
        """Count bytes of data that are kept from now on, or fewer if negative.

        Raises:
            TableFullError: ``EngineLimits.data_total`` would be exceeded.
        """
        if size > 0 and self.data_bytes + size > self.limits.data_total:
            raise TableFullError
        self.data_bytes += size

    def run_executes(self, claim: Claim, stage: int) -> None:
        """Start the entries of a stage, and drop all others."""
        key = claim.key
        for execute in claim.executes or ():
            if execute.stage == stage and not (
                execute.last_only and (key.levels or key.waiting)
            ):
                self.deferred.append((claim.owner, execute.command))
        self.drop_executes(claim)

    def drop_executes(self, claim: Claim) -> None:
        """Forget the entries that have not run."""
        if claim.executes is not None:
            self.data_bytes -= sum(map(_size_of, claim.executes))
            claim.executes = None

    # Timers.

    def _start_lease(self, claim: Claim) -> None:
        command = claim.command
        # With UNRENEW the lease counts from the request: the wait is a part of it.
        if not command.timeout_flag & _UNRENEW:
            claim.start = self.second
        claim.expires = lease_end(command, claim.start)
        self._arm_lease(claim)

    def restart_lease(self, claim: Claim) -> None:
        """Count the lease from now, after an update or a re-entry.

        A timer of milliseconds is not moved: it fires at its first time, and the
        command of that moment decides there.
        """
        claim.start = self.second
        claim.expires = lease_end(claim.command, self.second)
        if not claim.exact:
            self.deadlines.disarm(claim)
            self._arm_lease(claim)

    def _arm_lease(self, claim: Claim) -> None:
        command = claim.command
        if command.expiry_flag & _LEASE_MILLISECONDS:
            # `wall_ms` is rounded down: one more, or the lease could end early.
            claim.exact = True
            due = self.wall_ms + 1 + command.expiry % EXACT_BELOW
            self.deadlines.arm(claim, due)
        elif claim.expires != FOREVER:
            self.arm_tick(claim, claim.expires)

    def _start_wait(self, claim: Claim) -> None:
        command = claim.command
        if command.timeout_flag & _WAIT_MILLISECONDS and command.timeout < EXACT_BELOW:
            claim.exact = True
            self.deadlines.arm(claim, self.wall_ms + 1 + command.timeout)
        else:
            self.arm_tick(claim, wait_end(command, self.second))

    def arm_tick(self, claim: Claim, second: int) -> None:
        """Make a claim due at a full second, at the earliest the next one."""
        self.deadlines.arm(claim, max(second, self.second + 1) * 1000)


def _size_of(execute: Execute) -> int:
    return FRAME_SIZE + len(execute.command.data or b"")
