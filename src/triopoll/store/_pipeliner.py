"""Commands of many tasks, put into pipelines by one worker thread.

redis-py blocks, so it needs a thread; a thread hop for each command costs more than
the command. Here tasks put their commands into one queue, and the only thread takes
all that have gathered, sends them as one pipeline and hands back all replies with one
call into trio. When nothing else is going on the pipeline has one command and is sent
at once. (Prior art: coredis's and Redisson's auto-pipelining.)

Rules:

- A command is in the queue, or sent, or answered. Cancelling its caller leaves the
  caller at once in all three; what an abandoned command did is undone by `undo`, which
  turns the reply into a compensating command.
- A command that a lost connection may or may not have executed is never repeated,
  except those that are retried until they are acknowledged.
- Errors belong to commands: a reply that is an error fails one caller, a lost
  connection fails those of its pipeline.
- A command that is retried is dropped after an error that no later try can heal, and
  the log says so. What Redis refuses for a time (it is loading, it is a replica, its
  access list was changed) is tried again.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

import outcome
import redis
import trio

from ._base import StoreUnreachable
from ._executors import Command, Executor
from ._refusals import refusal_of, translate
from ._scripts import describe
from ._state import BackendStatus

__all__ = ["Pipeliner"]

Undo: TypeAlias = Callable[[Any], Command | None]

_log = logging.getLogger("triopoll.store")

# Commands in one pipeline: enough to make the system calls cheap, few enough for the
# first caller not to wait long for the last one's reply.
_MAX_BATCH = 512
# Seconds between two tries of a command that is retried: at first, and at most.
_FIRST_RETRY = 0.25
_LONGEST_RETRY = 2.0
# Seconds that closing may take whatever Redis does: until all is acknowledged, and for
# the last commands.
_SETTLING_LIMIT = 2.0
_FAREWELL_LIMIT = 0.5


class _Request:
    """One command, and what its reply is for."""

    __slots__ = ("command", "done", "is_wanted", "receive", "undo")

    def __init__(
        self,
        command: Command,
        *,
        receive: Callable[[Any], None] | None = None,
        undo: Undo | None = None,
        done: Callable[[], None] | None = None,
    ) -> None:
        self.command = command
        # Gets the reply; None if no task waits for it, or does so no longer.
        self.receive = receive
        self.undo = undo
        # Of a command that is retried: to be called after its last try.
        self.done = done
        # Cleared when its task leaves: what was not sent by then need not be.
        self.is_wanted = True

    def __repr__(self) -> str:
        return describe(self.command)

    def abandon(self) -> None:
        """Note that no task waits for the reply any more."""
        self.receive = None
        self.is_wanted = False


_Mark: TypeAlias = Callable[[], None]


class Pipeliner:
    """Send the commands of many tasks together, a pipeline at a time."""

    def __init__(
        self, executor: Executor, *, max_queued: int, closing: threading.Event
    ) -> None:
        """Wrap an executor, which nothing else may use from now on.

        Args:
            executor: Is called, and closed, by the worker thread.
            max_queued: Callers that may wait at once, and commands that may wait to be
                acknowledged; one more is refused.
            closing: Is set when the executor should not wait for anything any more.
        """
        self._executor = executor
        self._max_queued = max_queued
        self._closing = closing
        self._waiting = 0
        self._unacknowledged = 0
        self._all_acknowledged = trio.Event()
        self._closed = False
        self._queue: queue.SimpleQueue[_Request | _Mark | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=lambda: None)
        # Touched by the worker thread only.
        self._retried: list[_Request] = []
        self._retry_at = 0.0
        self._pause = _FIRST_RETRY
        self._was_away = False

    def __repr__(self) -> str:
        state = "closed" if self._closed else "open"
        return f"<Pipeliner: {state}, {self._waiting} waiting>"

    async def call(self, *command: str | bytes, undo: Undo | None = None) -> Any:
        """Send one command and return its reply.

        Args:
            command: Name and arguments.
            undo: Given the reply of a command whose caller has left, returns the
                command that undoes it, or None if there is nothing to undo.

        Raises:
            StoreUnreachable: Redis could not be reached or does not serve now, or the
                connection was lost before the reply: the command may have been
                executed.
            StoreFailed: Redis answered with an error.

        Cancellation:
            Leaves at once. The command is not sent, or is undone when its reply
            comes. Between the reply and the return there is no checkpoint.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        self._admit(1)
        task = trio.lowlevel.current_task()

        def receive(reply: Any) -> None:
            self._waiting -= 1
            trio.lowlevel.reschedule(task, _result_of(reply))

        request = _Request(command, receive=receive, undo=undo)
        self._queue.put(request)

        def abandon(_: Any) -> trio.lowlevel.Abort:
            self._waiting -= 1
            request.abandon()
            return trio.lowlevel.Abort.SUCCEEDED

        return await trio.lowlevel.wait_task_rescheduled(abandon)

    async def call_many(self, commands: Sequence[Command]) -> list[Any]:
        """Send several commands at once and return their replies, in order.

        Raises:
            StoreError: As `call`, for the first of them that failed.

        Cancellation:
            Leaves at once; any of them may have been executed.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        if not commands:
            return []
        self._admit(len(commands))
        task = trio.lowlevel.current_task()
        replies: dict[int, Any] = {}

        def receive(place: int, reply: Any) -> None:
            self._waiting -= 1
            replies[place] = reply
            if len(replies) == len(commands):
                trio.lowlevel.reschedule(task)

        requests = [
            _Request(command, receive=partial(receive, place))
            for place, command in enumerate(commands)
        ]
        for request in requests:
            self._queue.put(request)

        def abandon(_: Any) -> trio.lowlevel.Abort:
            self._waiting -= len(commands) - len(replies)
            for request in requests:
                request.abandon()
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abandon)
        return [_result_of(replies[place]).unwrap() for place in range(len(commands))]

    def retry_until_acknowledged(
        self, *command: str | bytes, done: Callable[[], None] | None = None
    ) -> None:
        """Send one command as soon as can be, again and again until it is answered.

        It returns at once and nothing learns the reply; an error that no later try can
        heal is logged. A connection lost between command and reply makes it happen
        twice.

        Args:
            command: Name and arguments.
            done: Called, from trio, once there will be no further try.
        """
        self._unacknowledged += 1
        self._queue.put(_Request(command, done=done or _nothing))

    def status(self) -> list[BackendStatus]:
        """Return what is known of each Redis, for operators."""
        return self._executor.status()

    def start(self) -> None:
        """Start the worker thread; `finish` ends it."""
        deliver = trio.lowlevel.current_trio_token().run_sync_soon
        # A daemon, so that a crash elsewhere, or a Redis that hangs when the process
        # ends, is not a process that never ends.
        self._thread = threading.Thread(
            target=self._work, args=(deliver,), name="triopoll-redis", daemon=True
        )
        self._thread.start()

    async def finish(self, last: Sequence[Command] = ()) -> None:
        """Refuse new calls, and end the worker when all is sent and acknowledged.

        It takes at most 2.5 s, whatever Redis does; what is not acknowledged by then is
        given up and logged.

        Args:
            last: Commands to send at the end, once.

        Cancellation:
            Must be shielded: the worker would go on for ever.
        """
        self._closed = True
        with trio.move_on_after(_SETTLING_LIMIT):
            await self._settle()
        self._closing.set()
        for command in last:
            self._queue.put(_Request(command))
        self._queue.put(None)
        await trio.to_thread.run_sync(self._thread.join, _FAREWELL_LIMIT)
        if self._thread.is_alive():
            _log.error(
                "Redis has not answered in time: the store is closed, %d commands "
                "are not acknowledged",
                self._unacknowledged,
            )

    async def _settle(self) -> None:
        # Replies come back in order. Once this mark has, each command that was in
        # the queue has been answered, and what undoes it is in the queue.
        settled = trio.Event()
        self._queue.put(settled.set)
        await settled.wait()
        if self._unacknowledged:
            await self._all_acknowledged.wait()

    def _admit(self, count: int) -> None:
        if self._closed:
            raise trio.ClosedResourceError("the store has been closed")
        if self._waiting >= self._max_queued:
            raise StoreUnreachable(f"{self._waiting} commands are waiting already")
        if self._unacknowledged >= self._max_queued:
            raise StoreUnreachable(
                f"{self._unacknowledged} commands are not acknowledged yet"
            )
        self._waiting += count

    # --- on the worker thread -----------------------------------------------------

    def _work(self, deliver: Callable[..., object]) -> None:
        # The event loop may end without waiting for a Redis that hangs.
        with contextlib.suppress(trio.RunFinishedError):
            self._serve(deliver)
        for request in self._retried:
            _log.error("Redis was away to the end, given up: %s", request)
        self._executor.close()

    def _serve(self, deliver: Callable[..., object]) -> None:
        mark: _Mark | None = _nothing
        while mark is not None:
            batch, mark = self._take()
            if batch:
                commands = [request.command for request in batch]
                replies = self._executor.execute(commands)
                self._keep_for_retry(batch, replies)
                deliver(self._deliver, batch, replies)
            if mark is not None:
                deliver(mark)

    def _take(self) -> tuple[list[_Request], _Mark | None]:
        """Return what has gathered up to a mark, what is retried first, and the mark.

        The mark is None for the end. It waits for a command, or until it is time to
        retry one.
        """
        batch: list[_Request] = []
        pause = max(0.0, self._retry_at - time.monotonic()) if self._retried else None
        try:
            item = self._queue.get(timeout=pause)
            while isinstance(item, _Request):
                if item.is_wanted:
                    batch.append(item)
                if len(batch) >= _MAX_BATCH:
                    item = _nothing
                else:
                    item = self._queue.get_nowait()
        except queue.Empty:
            item = _nothing
        # What was not refused, but never sent, costs nothing in a pipeline that is sent
        # anyway; and the connection may be back.
        is_free = self._was_away and bool(batch)
        if item is not None and not is_free and time.monotonic() < self._retry_at:
            return batch, item
        return self._due() + batch, item

    def _due(self) -> list[_Request]:
        """Take out what is to be retried."""
        due, self._retried = self._retried, []
        return due

    def _keep_for_retry(
        self, batch: Sequence[_Request], replies: Sequence[Any]
    ) -> None:
        again: list[_Request] = []
        is_away = True
        for request, reply in zip(batch, replies, strict=True):
            if request.done is None:
                continue
            if not _is_final(reply):
                again.append(request)
                is_away = is_away and not isinstance(reply, redis.ResponseError)
            elif isinstance(reply, Exception):
                _log.error("Redis refused for good: %s: %s", request, translate(reply))
        if again and not self._retried:
            self._retry_at = time.monotonic() + self._pause
            self._pause = min(2 * self._pause, _LONGEST_RETRY)
        elif not self._retried:
            self._pause = _FIRST_RETRY
        self._retried += again
        if again:
            self._was_away = is_away

    # --- back in trio -------------------------------------------------------------

    def _deliver(self, batch: Sequence[_Request], replies: Sequence[Any]) -> None:
        abandoned: list[Command] = []
        for request, reply in zip(batch, replies, strict=True):
            if request.receive is not None:
                request.receive(reply)
            elif request.done is not None:
                if _is_final(reply):
                    self._acknowledge(request.done)
            elif (command := _undoing(request, reply)) is not None:
                abandoned.append(command)
        # Backwards: what was popped last goes back to the head of its list first.
        for command in reversed(abandoned):
            self.retry_until_acknowledged(*command)

    def _acknowledge(self, done: Callable[[], None]) -> None:
        self._unacknowledged -= 1
        done()
        if self._closed and not self._unacknowledged:
            self._all_acknowledged.set()


def _nothing() -> None:
    pass


def _is_final(reply: Any) -> bool:
    """Return whether another try of the command would change nothing."""
    if not isinstance(reply, Exception):
        return True
    refusal = refusal_of(reply)
    return refusal is None or not refusal.retries


def _undoing(request: _Request, reply: Any) -> Command | None:
    if request.undo is None or isinstance(reply, Exception):
        return None
    return request.undo(reply)


def _result_of(reply: Any) -> outcome.Outcome[Any]:
    if isinstance(reply, Exception):
        return outcome.Error(translate(reply))
    return outcome.Value(reply)
