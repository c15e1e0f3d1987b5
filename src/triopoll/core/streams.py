"""Durable Streams: create, append, close, delete, read, and follow what comes.

Waits are woken through a `LogNotifier`, in the same four steps as those for messages,
and those that wait at the same offset share what is read after a wake. An append, a
close and a deletion wake. A stream whose time is over wakes nobody: its readers are
told by the sweep of the notifier.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from functools import partial

import trio

from ..ops.metrics import Metrics
from ..settings import Settings
from ..store import (
    NewAppend,
    NewStream,
    Refused,
    StreamAppended,
    StreamCreated,
    StreamPage,
    StreamRefusal,
    StreamStore,
    StreamView,
    Where,
)
from .backend_calls import MARGIN, call_store, count_failure
from .log_notifier import LogNotifier, LogSubscription, Wake
from .outcomes import EventFired, Failure, OperationFailed
from .parked_waits import ParkedWait, ParkedWaits, WaitedKey
from .slock_backend import SlockMonitor
from .stream_wait import StreamFound, StreamRead, StreamReads, StreamWait
from .waker import Waker, complete

__all__ = ["StreamFollower", "Streams"]

# Seconds that a fork may take: it copies what its source has.
_FORK_SECONDS = 30.0


class Streams:
    """The streams of one service."""

    def __init__(
        self,
        store: StreamStore,
        notifier: LogNotifier,
        waits: ParkedWaits,
        monitor: SlockMonitor,
        metrics: Metrics,
        settings: Settings,
    ) -> None:
        """Use parts that are open already.

        Args:
            store: Where the streams are.
            notifier: Wakes the waits for streams.
            waits: Where waits are parked.
            monitor: Knows whether slock answers.
            metrics: Counts streams, wakes and failures.
            settings: For the limits.
        """
        self.notifier = notifier
        self.waits = waits
        self.metrics = metrics
        self.limit = settings.backend_limit
        self.reads = StreamReads(
            self._read_after_wake, self._count, notifier, waits, metrics
        )
        self._store = store
        self._waker = Waker(notifier, monitor, metrics, settings.backend_limit)

    def __repr__(self) -> str:
        return f"<Streams: {self._store!r}, {self.notifier!r}>"

    async def create(
        self, path: str, new: NewStream
    ) -> StreamCreated | Refused | Failure:
        """Make a stream, or find it with the same configuration.

        Cancellation:
            It may have been made; a fork is made whole or not at all.
        """
        try:
            made = await self._create(path, new)
        except OperationFailed as error:
            return count_failure(self.metrics, error.failure)
        if isinstance(made, StreamCreated):
            self.metrics.stream("created" if made.is_new else "found")
            return made
        return self._count(made)

    async def append(
        self, path: str, new: NewAppend
    ) -> StreamAppended | Refused | Failure:
        """Append, close, or both, and wake those who wait for it.

        A duplicate wakes as well: its first producer may have died before it did.

        Cancellation:
            It is completed all the same, and takes no longer than the limits for the
            store and for slock.
        """
        try:
            outcome = await complete(self._append_and_wake, path, new)
        except OperationFailed as error:
            return count_failure(self.metrics, error.failure)
        if isinstance(outcome, Refused):
            return self._count(outcome)
        if outcome.duplicate:
            self.metrics.stream("duplicate")
        else:
            self.metrics.stream("appended" if new.data else "closed")
        return outcome

    async def look(self, path: str) -> StreamView | Refused | Failure:
        """Return a stream as it is.

        Cancellation:
            Nothing is left behind.
        """
        try:
            found = await call_store(self.limit, self._store.look, path)
            if isinstance(found, Refused):
                return self._count(await self._settled(path, found))
        except OperationFailed as error:
            return count_failure(self.metrics, error.failure)
        return found

    async def delete(self, path: str) -> Refused | Failure | None:
        """Delete a stream, and tell those who wait for it.

        Cancellation:
            It is completed all the same, as `append`.
        """
        try:
            refused = await complete(self._delete_and_wake, path)
        except OperationFailed as error:
            return count_failure(self.metrics, error.failure)
        if refused is None:
            self.metrics.stream("deleted")
            return None
        return self._count(refused)

    async def read(self, path: str, after: Where) -> StreamRead | Refused | Failure:
        """Read a page, without waiting.

        Args:
            path: Of the stream.
            after: Where to begin; None: at the end.

        Cancellation:
            Nothing is left behind.
        """
        return self._noted(await self.page(path, after, self.limit, touches=True))

    async def begin_read(
        self, path: str, after: Where, seconds: float, visitor: str | None = None
    ) -> StreamRead | Refused | Failure | StreamWait:
        """Read a page; if there is nothing, wait for something.

        Args:
            path: Of the stream.
            after: Where to begin; None: at the end.
            seconds: Seconds to wait, above 0; may be infinite.
            visitor: Who waits, as limits by visitor are counted; None for no visitor.

        Returns:
            What was read, or why it could not be; or a wait for one of these, to be
            parked or withdrawn. When its time is over or the server drains, its page
            has no entries.

        Cancellation:
            Nothing is left behind; the same offset finds the same.
        """
        until = trio.current_time() + seconds
        try:
            wait = StreamWait(self.reads, path, until, visitor)
        except OperationFailed as error:
            return count_failure(self.metrics, error.failure)
        is_over = True
        try:
            within = min(self.limit, seconds + MARGIN)
            found = await self.page(path, after, within, touches=True)
            read = self._noted(found)
            is_over = not isinstance(read, StreamRead) or read.ready
        finally:
            if is_over:
                wait.withdraw()
        if isinstance(read, StreamRead) and not is_over:
            wait.found(read.page)
            return wait
        return read

    @contextmanager
    def follow(
        self, path: str, after: Where, visitor: str | None = None
    ) -> Generator[StreamFollower]:
        """Read a stream page by page within the block.

        It is subscribed to before it is read, so no wake is missed, and stays so while
        its pages are being sent.

        Raises:
            OperationFailed: There is no room for one more wait.

        Cancellation:
            Nothing is left behind.
        """
        with self.notifier.subscribe((path,), visitor) as subscription:
            yield StreamFollower(self, path, after, subscription)

    async def page(
        self, path: str, after: Where, within: float, touches: bool
    ) -> StreamFound:
        """Read a page within so many seconds.

        A failure is returned, not raised, so that the tasks of one flight share it.

        Cancellation:
            Nothing is left behind.
        """
        try:
            read = partial(self._store.read, path, after, touches=touches)
            found = await call_store(within, read)
            if isinstance(found, Refused):
                return await self._settled(path, found)
        except OperationFailed as error:
            return error.failure
        # The sweep notices that the store is back only while a stream is subscribed to.
        self.notifier.store_up = True
        return found

    async def _read_after_wake(self, path: str, after: Where) -> StreamFound:
        # A request makes the stream's time begin anew, and a wake does not.
        return await self.page(path, after, self.limit, touches=False)

    def _noted(self, found: StreamFound) -> StreamRead | Refused | Failure:
        """Return what was read by a request, and count why it was not."""
        if isinstance(found, StreamPage):
            return StreamRead(found)
        if isinstance(found, Refused):
            return self._count(found)
        return count_failure(self.metrics, found)

    def _count(self, refused: Refused) -> Refused:
        self.metrics.stream(refused.reason.value)
        return refused

    async def _create(self, path: str, new: NewStream) -> StreamCreated | Refused:
        limit = self.limit if new.fork is None else _FORK_SECONDS
        made = await call_store(limit, self._store.create, path, new)
        if isinstance(made, StreamCreated):
            return made
        deleted = path if made.reason is StreamRefusal.DELETED else None
        if new.fork is not None and made.reason is StreamRefusal.SOURCE_DELETED:
            deleted = new.fork.path
        if deleted is None or not await self._sweep(deleted):
            return made
        return await call_store(limit, self._store.create, path, new)

    async def _append_and_wake(
        self, path: str, new: NewAppend
    ) -> StreamAppended | Refused:
        outcome = await call_store(self.limit, self._store.append, path, new)
        if isinstance(outcome, Refused):
            return await self._settled(path, outcome)
        await self._waker.wake(path)
        return outcome

    async def _delete_and_wake(self, path: str) -> Refused | None:
        refused = await call_store(self.limit, self._store.delete, path)
        if refused is not None:
            return await self._settled(path, refused)
        await self._waker.wake(path)
        return None

    async def _settled(self, path: str, refused: Refused) -> Refused:
        """Return why there is nothing; a path whose forks have gone is free."""
        if refused.reason is StreamRefusal.DELETED and await self._sweep(path):
            return Refused(reason=StreamRefusal.UNKNOWN)
        return refused

    async def _sweep(self, path: str) -> bool:
        return await call_store(self.limit, self._store.sweep, path)


class StreamFollower:
    """Reads a stream from an offset on, page by page. Made by `Streams.follow`."""

    def __init__(
        self, streams: Streams, path: str, after: Where, subscription: LogSubscription
    ) -> None:
        """Only `Streams` makes one."""
        self._streams = streams
        self._path = path
        self._after = after
        self._subscription = subscription
        self._page: StreamPage | None = None

    async def next(self, seconds: float) -> StreamRead | Refused | Failure:
        """Return the next page; if there is nothing, wait for something.

        Args:
            seconds: As for `Streams.begin_read`, but 0 reads without waiting.

        Cancellation:
            The next call returns what this one would have.
        """
        try:
            return await self._next(seconds)
        except OperationFailed as error:
            return count_failure(self._streams.metrics, error.failure)

    async def _next(self, seconds: float) -> StreamRead | Refused:
        streams = self._streams
        until = trio.current_time() + seconds
        if self._page is None or not self._page.up_to_date:
            within = min(streams.limit, seconds + MARGIN) if seconds else streams.limit
            # A request makes the stream's time begin anew, and a wake does not.
            touches = self._page is None
            args = self._path, self._after, within, touches
            found = self._note(await streams.page(*args))
            if isinstance(found, Refused) or found.ready or seconds == 0:
                return found
        result: StreamRead | Refused | None = None
        left = until - trio.current_time()
        with ParkedWait(
            streams.waits,
            left,
            "stream",
            needs_slock=False,
            waited_keys=self._waited_keys,
        ) as parked:
            result = await self._wait()
            parked.outcome = EventFired()
        if result is not None:
            return result
        if not streams.notifier.store_up:
            # A store that is down at the end of a wait must not look like a timeout.
            raise OperationFailed(Failure.STORE_UNREACHABLE)
        assert self._page is not None
        return StreamRead(StreamPage(self._page.view, self._page.end, ()))

    def _waited_keys(self) -> Sequence[WaitedKey]:
        end = None if self._page is None else str(self._page.end)
        return (WaitedKey(self._path, end),)

    async def _wait(self) -> StreamRead | Refused:
        streams = self._streams
        meter = streams.metrics.waits["stream"]
        while True:
            read = partial(streams.reads.read, self._path, self._after)
            wake = (await self._subscription.wait(read))[self._path]
            meter.wakes += 1
            found = self._note(await wake.flight(read).result(), wake)
            if isinstance(found, Refused) or found.ready:
                return found
            meter.empty_wakes += 1

    def _note(
        self, found: StreamFound, wake: Wake | None = None
    ) -> StreamRead | Refused:
        if isinstance(found, Failure):
            raise OperationFailed(found)
        if isinstance(found, Refused):
            return self._streams.reads.count(found)
        self._after, self._page = found.end, found
        return StreamRead(found, None if wake is None else wake.at)
