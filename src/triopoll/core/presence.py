"""Who waits on a key: what this process reports of it, and what all have reported.

The waits of this process are counted in a table (`presence_table`). Once a second what
has changed there is reported to the store, in batches; so a poll costs no command of
Redis. Without any wait that counts, nothing runs.

Changes are recorded in a log, for as long as it is followed: the process in which a
reader waits for them says so to the store every few seconds. That look also removes,
and records, what a worker had reported that has died meanwhile.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import contextmanager

import trio

from ..ops.metrics import Metrics
from ..settings import Settings
from ..store import FoundWaiting, PresenceStore, Waiting, changes_key
from .backend_calls import call_store, count_failure
from .outcomes import Failure, OperationFailed
from .presence_table import Place, PresenceLimits, PresenceTable
from .waker import Waker

__all__ = ["Attendance", "Presence"]

# Seconds between two rounds of reports, and between two looks at what is followed.
_ROUND = 1.0
_LOOK = 5.0
# Keys that are reported or looked at together.
_BATCH = 256


class Presence:
    """Counts the waits of this process, reports them, and reads who waits anywhere.

    Attributes:
        table: The waits of this process.
    """

    def __init__(
        self,
        store: PresenceStore,
        waker: Waker,
        metrics: Metrics,
        settings: Settings,
        keeps: Callable[[str], bool],
    ) -> None:
        """Use parts that are open already; `run` reports.

        Args:
            store: Merges what all workers report.
            waker: Wakes the readers of changes.
            metrics: Counts failures.
            settings: For the limits.
            keeps: Says for which keys it is kept who waits.
        """
        limits = PresenceLimits(
            linger=settings.presence_linger,
            max_places=settings.presence_max_waits,
            max_subjects=settings.presence_max_subjects,
        )
        self.table = PresenceTable(limits)
        self.keeps = keeps
        self._store = store
        self._waker = waker
        self._metrics = metrics
        self._limit = settings.backend_limit
        # The keys whose changes are waited for in this process.
        self._followed: Counter[str] = Counter()
        self._look_at = 0.0
        self._has_work = trio.Event()

    def __repr__(self) -> str:
        return f"<Presence: {self.table!r}, {len(self._followed)} followed>"

    def attend(self, keys: Collection[str], subject: str | None) -> Attendance:
        """Return what counts one wait, once it has begun.

        Args:
            keys: What is waited for; those for which nothing is kept are left out.
            subject: Of the ticket; None without one.
        """
        return Attendance(self, keys, _usable(subject))

    def join(self, key: str, subject: str | None) -> Place | None:
        """Count a wait; see `PresenceTable.join`."""
        self._has_work.set()
        return self.table.join(key, subject, trio.current_time())

    def leave(self, place: Place) -> None:
        """Let a wait linger; see `PresenceTable.leave`."""
        self.table.leave(place, trio.current_time())

    async def read(self, key: str) -> Waiting | Failure:
        """Return who waits on a key, in all workers.

        Cancellation:
            Nothing is left behind.
        """
        found = await self._look([key], record=False)
        return found if isinstance(found, Failure) else found[0].waiting

    async def record(self, key: str) -> Failure | None:
        """Record the changes of a key for some minutes from now on.

        Cancellation:
            They may be recorded.
        """
        found = await self._look([key], record=True)
        return found if isinstance(found, Failure) else None

    @contextmanager
    def following(self, key: str) -> Generator[None]:
        """Keep the changes of a key recorded, and up to date, for the block."""
        self._followed[key] += 1
        self._has_work.set()
        try:
            yield
        finally:
            self._followed[key] -= 1
            if not self._followed[key]:
                del self._followed[key]

    async def run(self) -> None:
        """Report the waits of this process.

        Cancellation:
            The only end. The store forgets what was reported after some seconds.
        """
        while True:
            await self._has_work.wait()
            await trio.sleep(_ROUND)
            await self._report()
            if self._followed and trio.current_time() >= self._look_at:
                self._look_at = trio.current_time() + _LOOK
                await self._look_at_followed()
            if not (self.table or self._followed):
                self._has_work = trio.Event()

    async def _report(self) -> None:
        now = trio.current_time()
        while batch := self.table.due(now, _BATCH):
            try:
                changed = await call_store(self._limit, self._store.report, batch)
            except OperationFailed as error:
                count_failure(self._metrics, error.failure)
                self.table.repeat(batch, trio.current_time())
                if error.failure is Failure.STORE_UNREACHABLE:
                    return
                # It may be one key that is refused; others are not to wait for it.
                continue
            await self._wake(changed)

    async def _look_at_followed(self) -> None:
        keys = list(self._followed)
        for start in range(0, len(keys), _BATCH):
            if isinstance(
                await self._look(keys[start : start + _BATCH], record=True), Failure
            ):
                return

    async def _look(
        self, keys: Sequence[str], *, record: bool
    ) -> list[FoundWaiting] | Failure:
        async def look() -> list[FoundWaiting]:
            return await self._store.look(keys, record=record)

        try:
            found = await call_store(self._limit, look)
        except OperationFailed as error:
            return count_failure(self._metrics, error.failure)
        await self._wake(
            [key for key, each in zip(keys, found, strict=True) if each.is_recorded]
        )
        return found

    async def _wake(self, keys: Sequence[str]) -> None:
        """Wake the readers of the changes of these keys."""
        async with trio.open_nursery() as nursery:
            for key in keys:
                nursery.start_soon(self._waker.wake, changes_key(key))


class Attendance:
    """Counts one wait on some keys, or a websocket, from its begin to its end."""

    __slots__ = ("_keys", "_places", "_presence", "_subject")

    def __init__(
        self, presence: Presence, keys: Collection[str], subject: str | None
    ) -> None:
        """Only `Presence.attend` makes one."""
        self._presence = presence
        self._keys = keys
        self._subject = subject
        self._places: dict[str, Place] = {}

    def __repr__(self) -> str:
        return f"<Attendance: {self._subject!r} on {len(self._places)} keys>"

    def begin(self) -> None:
        """Count the wait."""
        self.follow(self._keys)

    def follow(self, keys: Collection[str]) -> None:
        """Count on these keys from now on, and on no other."""
        for key in self._places.keys() - keys:
            self._presence.leave(self._places.pop(key))
        for key in keys:
            if key not in self._places and self._presence.keeps(key):
                place = self._presence.join(key, self._subject)
                if place is not None:
                    self._places[key] = place

    def finish(self) -> None:
        """Let the wait linger; may be called again."""
        self.follow(())


def _usable(subject: str | None) -> str | None:
    """Return a subject that can be stored; a ticket may have half a surrogate pair."""
    try:
        (subject or "").encode()
    except UnicodeEncodeError:
        return None
    return subject
