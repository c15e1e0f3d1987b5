"""State waits: create a state, wait for its next version, change it, acknowledge it.

A state is created for one reader, who has its secret; publishers change it. Only the
last state counts, so a reader that was away misses nothing: it reads the state as it is
if that has another version than the one that it knows.

Waits are woken through a `LogNotifier`, in the same four steps as those for messages.
Expiry needs no wake: a wait knows when its state expires, and reads it then.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TypeAlias

import trio

from ..ops.metrics import Metrics
from ..settings import Settings
from ..store import FoundState, StateRecord, StateStore
from .backend_calls import call_store, count_failure
from .log_notifier import LogNotifier, LogSubscription, SharedRead, Wake
from .outcomes import EventFired, Failure, OperationFailed
from .parked_waits import ParkedWait, ParkedWaits, WaitedKey
from .scan_times import ScanTimes
from .slock_backend import SlockMonitor
from .state_rules import (
    SCANNED,
    BadChoice,
    Change,
    Conflict,
    NewState,
    StateRefusal,
    StateView,
    acknowledge,
    apply_change,
    current,
    deadline,
    new_record,
    view,
)
from .waker import Waker, complete

__all__ = ["States"]

_Found: TypeAlias = StateView | StateRefusal | Failure

# Seconds that an expired state is read later than its time: the store's clock and this
# one do not tick together.
_LATE = 0.01


class States:
    """The states of one service."""

    def __init__(
        self,
        store: StateStore,
        notifier: LogNotifier,
        waits: ParkedWaits,
        monitor: SlockMonitor,
        metrics: Metrics,
        settings: Settings,
        scans: ScanTimes | None = None,
    ) -> None:
        """Use parts that are open already.

        Args:
            store: Where the states are.
            notifier: Wakes the waits for states.
            waits: Where waits are parked.
            monitor: Knows whether slock answers.
            metrics: Counts states, wakes and failures.
            settings: For the limits.
            scans: Notes how long people take, for operators; None: nothing does.
        """
        self._store = store
        self._notifier = notifier
        self._waits = waits
        self._waker = Waker(notifier, monitor, metrics, settings.backend_limit)
        self._metrics = metrics
        self._scans = scans
        self._limit = settings.backend_limit

    def __repr__(self) -> str:
        return f"<States: {self._store!r}, {self._notifier!r}>"

    async def create(
        self, key: str, digest: bytes, new: NewState
    ) -> StateView | Failure:
        """Create a state.

        Args:
            key: Random: no state has it.
            digest: SHA-256 of its secret.
            new: Its first state, and its rules.

        Cancellation:
            It may have been created; its key is known to nothing then, and it is
            dropped when its time is over.
        """
        record = new_record(new)
        try:
            await call_store(self._limit, self._store.insert, key, digest, record)
        except OperationFailed as error:
            return count_failure(self._metrics, error.failure)
        self._metrics.state("created")
        return view(record, 0.0)

    async def wait(
        self, key: str, digest: bytes, version: int, seconds: float
    ) -> StateView | StateRefusal | Failure:
        """Return the state once it has another version than the known one.

        A lower version than the known one counts as another one: a store that has lost
        its last writes has it.

        Args:
            key: Any text.
            digest: SHA-256 of the secret that was shown.
            version: The one that the reader knows; 0 for none.
            seconds: Seconds to wait; 0 reads without waiting; may be infinite.

        Returns:
            The state; with the known version when the time is over or the server
            drains. Or why it is not read: at once for an unknown key and for a wrong
            secret, which are not distinguished.

        Cancellation:
            Nothing is left behind; the same version finds the same state.
        """
        # The secret is proven first: a key without its secret is not subscribed to, so
        # the time until the refusal does not tell whether a wait for it is parked.
        read = partial(self._read, key, digest)
        found: _Found = await read()
        if seconds != 0 and not _is_ready(found, version):
            assert isinstance(found, StateView)
            found = await self._park(key, read, found, seconds)
        if isinstance(found, Failure):
            return count_failure(self._metrics, found)
        if isinstance(found, StateRefusal):
            self._metrics.state(found.value)
        return found

    async def change(
        self, key: str, change: Change
    ) -> StateView | StateRefusal | Conflict | BadChoice | Failure:
        """Change a state, and wake the waits for it.

        Returns:
            The new state; with its number if it has one and was scanned. Or why it was
            not changed; a `Conflict` with a replacement has changed it to that.

        Cancellation:
            It is completed all the same, and takes no longer than the limits.
        """
        try:
            result = await complete(self._change_and_wake, key, change)
        except OperationFailed as error:
            return count_failure(self._metrics, error.failure)
        self._count_change(key, result)
        return result

    async def acknowledge(
        self, key: str, digest: bytes, version: int
    ) -> StateRefusal | Conflict | Failure | None:
        """Delete the data of a final state, since its reader has it.

        Returns:
            Why it was not acknowledged; None if it was, now or before.

        Cancellation:
            It is completed all the same, and takes no longer than the limits.
        """
        try:
            args = key, digest, version
            result = await complete(self._acknowledge_and_wake, *args)
        except OperationFailed as error:
            return count_failure(self._metrics, error.failure)
        self._metrics.state("acknowledged" if result is None else "ack_refused")
        return result

    async def origin(self, key: str) -> FoundState | StateRefusal | Failure:
        """Return a state with what is known of its creator; its record is current.

        Cancellation:
            Nothing is left behind.
        """
        try:
            found = await call_store(self._limit, self._store.read, key)
        except OperationFailed as error:
            return count_failure(self._metrics, error.failure)
        if found is None:
            return StateRefusal.UNKNOWN
        return found._replace(record=current(found))

    # --- waiting ----------------------------------------------------------------------

    async def _read(self, key: str, digest: bytes) -> _Found:
        # A failure is returned, not raised, so that the tasks of one flight share it.
        try:
            found = await call_store(self._limit, self._store.read, key, digest)
        except OperationFailed as error:
            return error.failure
        # The sweep notices that the store is back only while a state is subscribed to.
        self._notifier.store_up = True
        if found is None:
            return StateRefusal.UNKNOWN
        record = current(found)
        return StateRefusal.GONE if record.is_acked else view(record, found.age)

    async def _park(
        self, key: str, read: SharedRead, known: StateView, seconds: float
    ) -> _Found:
        """Wait for another version than the known one, for at most so many seconds."""
        since = trio.current_time()
        result: _Found | None = None
        try:
            with (
                self._notifier.subscribe((key,)) as subscription,
                ParkedWait(
                    self._waits,
                    seconds,
                    "state",
                    needs_slock=False,
                    waited_keys=lambda: (WaitedKey(key, known.record.state),),
                ) as parked,
            ):
                result = await self._next(key, subscription, read, known)
                parked.outcome = EventFired()
        except OperationFailed as error:
            return error.failure
        if result is not None:
            return result
        if not self._notifier.store_up:
            # A store that is down at the end of a wait must not look like a timeout.
            return Failure.STORE_UNREACHABLE
        waited = trio.current_time() - since
        return replace(known, expires_in=max(0.0, known.expires_in - waited))

    async def _next(
        self,
        key: str,
        subscription: LogSubscription,
        read: SharedRead,
        known: StateView,
    ) -> _Found:
        """Read after the subscription, after each wake, and when the state expires."""
        meter = self._metrics.waits["state"]
        found: _Found = await read()
        while not _is_ready(found, known.record.version):
            assert isinstance(found, StateView)
            wake = await _wake_or_end(key, subscription, read, found)
            found = await (read() if wake is None else _read_after(wake, read))
            if wake is not None:
                meter.wakes += 1
                meter.empty_wakes += not _is_ready(found, known.record.version)
                if isinstance(found, StateView):
                    found = replace(found, woken=wake.at)
        return found

    # --- changing ---------------------------------------------------------------------

    async def _change_and_wake(
        self, key: str, change: Change
    ) -> StateView | StateRefusal | Conflict | BadChoice:
        result = await call_store(self._limit, self._change, key, change)
        is_replaced = isinstance(result, Conflict) and result.replacement is not None
        if is_replaced or isinstance(result, StateView):
            await self._waker.wake(key)
        return result

    async def _acknowledge_and_wake(
        self, key: str, digest: bytes, version: int
    ) -> StateRefusal | Conflict | None:
        args = key, digest, version
        result = await call_store(self._limit, self._acknowledge, *args)
        if result is None:
            # Another page with the same secret waits in vain.
            await self._waker.wake(key)
        return result

    async def _change(
        self, key: str, change: Change
    ) -> StateView | StateRefusal | Conflict | BadChoice:
        while True:
            found = await self._store.read(key)
            if found is None:
                return StateRefusal.UNKNOWN
            result = apply_change(current(found), found.age, change)
            record = result.replacement if isinstance(result, Conflict) else result
            if not isinstance(record, StateRecord):
                # Either it is no record, or the conflict replaces nothing.
                assert not isinstance(result, StateRecord)
                return result
            # A record that was replaced meanwhile, or has expired, is read again.
            before = deadline(found.record)
            if await self._store.swap(key, found, record, before):
                return _changed(result, found.age)

    async def _acknowledge(
        self, key: str, digest: bytes, version: int
    ) -> StateRefusal | Conflict | None:
        while True:
            found = await self._store.read(key, digest)
            if found is None:
                return StateRefusal.UNKNOWN
            record = acknowledge(current(found), version)
            if isinstance(record, Conflict):
                return record
            if found.record.is_acked:
                return None
            if await self._store.swap(key, found, record, None):
                return None

    def _count_change(
        self, key: str, result: StateView | StateRefusal | Conflict | BadChoice
    ) -> None:
        if isinstance(result, StateView):
            self._metrics.state("changed")
            if self._scans is not None:
                self._scans.note(key, result.record.state)
        elif isinstance(result, Conflict):
            self._metrics.state("mismatch" if result.replacement else "conflict")


def _is_ready(found: _Found, version: int) -> bool:
    return not isinstance(found, StateView) or found.record.version != version


async def _wake_or_end(
    key: str, subscription: LogSubscription, read: SharedRead, found: StateView
) -> Wake | None:
    """Wait for a wake; return None when the time of the state is over before."""
    with trio.move_on_after(found.expires_in + _LATE):
        return (await subscription.wait(read))[key]
    return None


async def _read_after(wake: Wake, read: SharedRead) -> _Found:
    """Read after a wake, once for all tasks that it woke with the same secret."""
    found: _Found = await wake.flight(read).result()
    return found


def _changed(
    result: StateRecord | Conflict | BadChoice, age: float
) -> StateView | Conflict:
    if isinstance(result, StateRecord):
        number = result.number if result.state == SCANNED else None
        return view(result, age, number)
    assert isinstance(result, Conflict)
    return result
