"""The engine: commands and the time in, replies and the next deadline out.

The order of calls for an integrator::

    peer = engine.add_peer(now)
    for reply in engine.submit(peer, command, now): ...  # may be for other peers
    engine.next_deadline()              # call advance() at this time, or before
    for reply in engine.advance(now): ...
    for reply in engine.drop_peer(peer, now): ...

``now`` is any clock in seconds that does not go back. Waits and leases in seconds
end on full *wall* seconds, at ``now + wall_offset``. Whatever is due by ``now`` ends
first. A lease that a waiter gets by that, or a wait on a reversed key, begins at
``now``.

Source: snower/slock 2.1.12, ``server/protocol.go`` (``ProcessCommand``,
``BinaryServerProtocol.Close``).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Set
from typing import assert_never

from ..protocol import (
    CallCommand,
    Command,
    CommandType,
    InitCommand,
    InitResult,
    InitType,
    LeaderResult,
    LockCommand,
    PlainCommand,
    PlainResult,
    ResultCode,
    StateCommand,
    StateResult,
    SubscribeCommand,
    SubscribeResult,
)
from . import _expiry
from ._calls import answer_call
from ._keyspace import Claim, Key
from ._lock import lock
from ._peers import Peer, Peers
from ._persistence import SavedKey, restore, save
from ._subscriptions import Subscriptions
from ._table import Table, TableFullError
from ._times import FOREVER, wait_end
from ._types import (
    ClaimView,
    ClosePeer,
    Counters,
    EngineLimits,
    EngineStatistics,
    KeyView,
    Reply,
)
from ._unlock import unlock
from ._values import check_frame

_LOCK = int(CommandType.LOCK)
_UNLOCK = int(CommandType.UNLOCK)
_WILL_LOCK = int(CommandType.WILL_LOCK)
_WILL_UNLOCK = int(CommandType.WILL_UNLOCK)
_RUN_TYPES = frozenset({_LOCK, _UNLOCK})
_WILL_TYPES = frozenset({_WILL_LOCK, _WILL_UNLOCK})
_ERROR = int(ResultCode.ERROR)
_ANSWERED = frozenset(map(int, (CommandType.PING, CommandType.QUIT, CommandType.ADMIN)))
_LEADER = InitType.LEADER | InitType.LEADER_KNOWN
_NO_COUNTERS = Counters(0, 0, 0, 0, 0, 0, 0, 0)

_OtherCommand = (
    InitCommand | StateCommand | SubscribeCommand | CallCommand | PlainCommand
)

# The sum ``now + wall_offset`` has an error of some 2e-7 s. Without this a caller that
# passes ``next_deadline()`` as ``now`` could find nothing due.
_ROUNDING = 1e-5


def _counted_ids() -> Callable[[], bytes]:
    counter = itertools.count(1)
    return lambda: next(counter).to_bytes(16, "big")


class Engine:
    """One slock node without a network."""

    __slots__ = ("_offset", "_peers", "_subscribe_enabled", "_subscriptions", "_table")

    def __init__(
        self,
        *,
        limits: EngineLimits | None = None,
        wall_offset: float = 0.0,
        subscribe_enabled: bool = False,
        new_id: Callable[[], bytes] | None = None,
    ) -> None:
        """Make an empty engine.

        Args:
            limits: How much it keeps before it refuses.
            wall_offset: Wall time minus the clock that ``now`` comes from.
            subscribe_enabled: Whether SUBSCRIBE works; a real server refuses it
                unless it is started with ``--subscribe_enabled``.
            new_id: Makes 16-byte request ids for commands that the engine itself
                starts; by default they are counted.
        """
        limits = limits or EngineLimits()
        self._offset = wall_offset
        self._subscribe_enabled = subscribe_enabled
        self._peers = Peers()
        self._subscriptions = Subscriptions(limits)
        self._table = Table(
            limits, self._peers, self._subscriptions, new_id or _counted_ids()
        )

    def __repr__(self) -> str:
        table = self._table
        return (
            f"<Engine: {len(self._peers)} peers, {table.keys} keys, "
            f"{table.holders} holders, {table.waiters} waiters>"
        )

    @property
    def wall_offset(self) -> float:
        """Wall time minus the clock that ``now`` comes from."""
        return self._offset

    # Peers.

    def add_peer(self, now: float) -> int:
        """Add a peer and return its number, which is never used again."""
        self._table_at(now)
        return self._peers.add().id

    def drop_peer(self, peer: int, now: float) -> list[Reply]:
        """Close a peer and run its wills.

        Its locks and waits stay. Keep-alive ones are no longer renewed. Results for
        the others go to the peer that is registered under the same client id at that
        moment, and are dropped if there is none.

        Returns:
            Replies to other peers, in order.

        Raises:
            KeyError: There is no such peer (any more).
        """
        table = self._begin(now)
        owner = self._peers.close(peer)
        self._subscriptions.drop_peer(owner, table.wall_ms)
        wills, owner.wills = owner.wills, None
        # Run by a peer that is closed: results go to its successor or nowhere.
        for will in wills or ():
            if will.data is not None:
                table.data_bytes -= len(will.data)
            self._run(owner, will)
        return table.replies

    # Commands and time.

    def submit(self, peer: int, command: Command, now: float) -> list[Reply]:
        """Execute a command.

        Args:
            peer: The sender.
            command: A LOCK or UNLOCK whose data frame is malformed is refused
                with result 11, as is any that is above a limit.
            now: The time.

        Returns:
            All replies in order, those of timers that were due first; some may
            be for other peers. ``ClosePeer`` means that the peer is to be
            closed after what was sent to it before.

        Raises:
            KeyError: There is no such peer (any more).
        """
        table = self._begin(now)
        owner = self._peers.get(peer)
        if isinstance(command, LockCommand):
            self._submit_lock(owner, command)
        else:
            table.replies.extend(self._answer(owner, command))
        return table.replies

    def advance(self, now: float) -> list[Reply]:
        """End whatever is due by ``now`` and return the replies in order."""
        return self._begin(now).replies

    def next_deadline(self) -> float | None:
        """Return when `advance` has something to do, or None for never."""
        dues = (self._table.deadlines.next(), self._subscriptions.next_deadline())
        due = min((each for each in dues if each is not None), default=None)
        return None if due is None else due / 1000 - self._offset

    def flush(self, db: int, now: float) -> list[Reply]:
        """Empty a database: its waiters get result 8, its holders 9."""
        table = self._begin(now)
        database = table.keyspace.find(db)
        if database is not None:
            _expiry.flush(table, database)
            self._run_deferred()
        return table.replies

    def end_leases(self, db: int, key: bytes, now: float) -> list[Reply]:
        """End the leases of a key as if they had run out, whatever keeps them.

        Its holders get result 9, and those that wait for it their turn.
        """
        table = self._begin(now)
        found = table.keyspace.find_key(db, key)
        # A copy: the first end may grant the key to waiters, whose leases go on.
        for claim in tuple(found.holders) if found is not None else ():
            _expiry.end_lease(table, claim)
        self._run_deferred()
        return table.replies

    # Reading.

    def database_exists(self, db: int) -> bool:
        """Return whether a database has been used."""
        return self._table.keyspace.find(db) is not None

    def open_database(self, db: int) -> bool:
        """Make a database exist, as reading from it does; False above 254."""
        return self._table.keyspace.open(db) is not None

    def inspect(self, db: int, key: bytes) -> KeyView | None:
        """Return a key with its holders and waiters, or None if it has neither."""
        found = self._table.keyspace.find_key(db, key)
        if found is None:
            return None
        holders, waiters = map(_view, found.holders), map(_view, found.waiters or ())
        return _key_view(found, tuple(holders), tuple(waiters))

    def peek(self, db: int, key: bytes) -> KeyView | None:
        """Return a key with its first holder alone, however many it has."""
        found = self._table.keyspace.find_key(db, key)
        if found is None:
            return None
        return _key_view(found, tuple(map(_view, itertools.islice(found.holders, 1))))

    def held_keys(self, db: int) -> Iterator[KeyView]:
        """Yield the held keys of a database, without holders and waiters.

        Exhaust the iterator before the engine is called again.
        """
        database = self._table.keyspace.find(db)
        for key in database.keys.values() if database is not None else ():
            if key.levels:
                yield _key_view(key)

    def counters(self, db: int) -> Counters:
        """Return the counters of a database, all zero for one never used."""
        database = self._table.keyspace.find(db)
        if database is None:
            return _NO_COUNTERS
        return database.counters(self._table.second)

    def statistics(self) -> EngineStatistics:
        """Return counts of what is kept now."""
        table = self._table
        return EngineStatistics(
            peers=len(self._peers),
            client_ids=self._peers.client_ids,
            databases=len(table.keyspace),
            keys=table.keys,
            holders=table.holders,
            waiters=table.waiters,
            timers=len(table.deadlines) + self._subscriptions.timers,
            subscriptions=len(self._subscriptions),
            data_bytes=table.data_bytes,
        )

    # Persistence.

    def watch_changes(self) -> None:
        """Note from now on which keys change, for `take_changes`."""
        self._table.changed = set()

    def take_changes(self) -> Set[tuple[int, bytes]]:
        """Return the keys that have changed since the last call.

        Returns:
            Database and name of each; always none before `watch_changes`.
        """
        changed = self._table.changed
        if not changed:
            return frozenset()
        self._table.changed = set()
        return changed

    def save(self, db: int, key: bytes) -> SavedKey | None:
        """Return a key as it is to be saved, or None if it is not."""
        found = self._table.keyspace.find_key(db, key)
        return None if found is None else save(found)

    def restore(self, saved: Iterable[SavedKey], now: float) -> None:
        """Hold keys that another engine has saved.

        A lease that has ended meanwhile ends at the next tick, with no notice.

        Raises:
            OverflowError: They do not fit into the limits of this engine.
            ValueError: A database does not exist, or a key is held already.
        """
        table = self._table_at(now)
        # A closed peer without a client id: no notice is ever sent to it.
        owner = self._peers.close(self._peers.add().id)
        try:
            for key in saved:
                restore(table, key, owner)
        except TableFullError:
            raise OverflowError("more is held than the limits allow") from None

    # The clock.

    def _table_at(self, now: float) -> Table:
        table = self._table
        wall = now + self._offset + _ROUNDING
        table.second = int(wall)
        table.wall_ms = int(wall * 1000)
        return table

    def _begin(self, now: float) -> Table:
        """Set the clock, start a new list of replies, and end whatever is due."""
        table = self._table_at(now)
        table.replies = []
        deadlines = table.deadlines
        while (due := deadlines.next()) is not None and due <= table.wall_ms:
            for claim in deadlines.pop():
                # An earlier one of the same bucket may have disarmed this one.
                if claim.due == due:
                    _expiry.fire(table, claim)
            self._run_deferred()
        if self._subscriptions:
            self._subscriptions.advance(table.wall_ms)
        return table

    # LOCK and UNLOCK.

    def _submit_lock(self, owner: Peer, command: LockCommand) -> None:
        kind, data = command.type, command.data
        limit = self._table.limits.data_size
        if data is not None and not check_frame(data, limit):
            self._table.answer(owner, command, _ERROR, 0, 0, None)
        elif kind in _RUN_TYPES:
            self._run(owner, command)
        elif kind in _WILL_TYPES:
            self._keep_will(owner, command)
        else:
            self._table.answer(owner, command, _ERROR, 0, 0, None)

    def _run(self, owner: Peer, command: LockCommand) -> None:
        """Run a command, and after it the commands that it starts."""
        table = self._table
        if command.type == _LOCK:
            lock(table, owner, command)
        else:
            unlock(table, owner, command)
        if table.deferred:
            self._run_deferred()

    def _run_deferred(self) -> None:
        """Run the commands that the engine has started; each may start more.

        This terminates: EXECUTE entries are parts of the frame that started them, a
        key is reversed once for each flag, and each step up a tree releases a lock.
        """
        table = self._table
        while table.deferred:
            owner, command = table.deferred.popleft()
            if command.type == _LOCK:
                lock(table, owner, command)
            else:
                unlock(table, owner, command)

    def _keep_will(self, owner: Peer, command: LockCommand) -> None:
        table = self._table
        wills = owner.wills or []
        try:
            if len(wills) >= table.limits.wills:
                raise TableFullError
            table.reserve(len(command.data or b""))
        except TableFullError:
            table.answer(owner, command, _ERROR, 0, 0, None)
            return
        kind = _LOCK if command.type == _WILL_LOCK else _UNLOCK
        wills.append(command._replace(type=kind))
        owner.wills = wills

    # The other commands.

    def _answer(self, owner: Peer, command: _OtherCommand) -> list[Reply]:
        match command:
            case InitCommand():
                return [Reply(owner.id, self._init(owner, command))]
            case StateCommand():
                return [Reply(owner.id, self._state(command))]
            case SubscribeCommand():
                return self._subscribe(owner, command)
            case CallCommand():
                return [Reply(owner.id, answer_call(command, self))]
            case PlainCommand():
                return _answer_plain(owner, command)
            case _:
                assert_never(command)

    def _init(self, owner: Peer, command: InitCommand) -> InitResult:
        in_use = self._peers.register(owner, command.client_id)
        init_type = _LEADER | InitType.ID_IN_USE if in_use else _LEADER
        return InitResult(command.request_id, int(ResultCode.SUCCED), int(init_type))

    def _state(self, command: StateCommand) -> StateResult:
        exists = self.database_exists(command.db)
        counters = self.counters(command.db)
        return StateResult(command.request_id, 0, 0, int(exists), command.db, *counters)

    def _subscribe(self, owner: Peer, command: SubscribeCommand) -> list[Reply]:
        if self._subscribe_enabled:
            return self._subscriptions.submit(owner, command)
        request_id, client_id = command.request_id, command.client_id
        result = SubscribeResult(request_id, _ERROR, 0, client_id, command.subscribe_id)
        return [Reply(owner.id, result)]


def _answer_plain(owner: Peer, command: PlainCommand) -> list[Reply]:
    kind, request_id = command
    if kind == CommandType.LEADER:
        return [Reply(owner.id, LeaderResult(request_id, int(ResultCode.SUCCED), ""))]
    known = kind in _ANSWERED
    code = ResultCode.SUCCED if known else ResultCode.UNKNOWN_COMMAND
    replies = [Reply(owner.id, PlainResult(kind, request_id, int(code)))]
    if kind == CommandType.QUIT:
        replies.append(Reply(owner.id, ClosePeer("quit")))
    return replies


def _key_view(
    key: Key,
    holders: tuple[ClaimView, ...] = (),
    waiters: tuple[ClaimView, ...] = (),
) -> KeyView:
    return KeyView(key.db.number, key.name, key.levels, key.data, holders, waiters)


def _view(claim: Claim) -> ClaimView:
    ends = claim.levels and claim.expires != FOREVER
    return ClaimView(
        claim.command.lock_id,
        claim.levels,
        claim.start,
        wait_end(claim.command, claim.start),
        claim.expires if ends else None,
        claim.command,
    )
