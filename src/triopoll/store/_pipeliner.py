"""Commands of many tasks, gathered into pipelines by one worker thread.

redis-py blocks, so it needs a thread; a thread hop for each command costs more than
the command. Here tasks put their commands into one queue, and the only thread takes
all that have gathered, sends them as one pipeline and hands back all replies with one
call into trio. When nothing else is going on the pipeline has one command and nobody
waits for company. (Prior art: coredis's and Redisson's auto-pipelining.)

Rules:

- A command is in the queue, or sent, or answered. Cancelling its caller leaves the
  caller at once in all three; what an abandoned command did is undone by `undo`, which
  turns the reply into a compensating command.
- A command that a lost connection may or may not have executed is never repeated,
  except those put with `owe`: they are repeated until they are answered.
- Errors belong to commands: a reply that is an error fails one caller, a lost
  connection fails those of its pipeline.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import outcome
import redis
import trio

from ._base import StoreError, StoreFailed, StoreUnreachable
from ._executors import Command
from ._scripts import describe

__all__ = ["Gatherer"]

Undo: TypeAlias = Callable[[Any], Command | None]

_log = logging.getLogger("triopoll.store")

# Commands in one pipeline: enough to make the system calls cheap, few enough for the
# first caller not to wait long for the last one's reply.
_MAX_BATCH = 512
# Seconds between two tries to settle what is owed while Redis is away.
_OWED_RETRY = 0.25


class _Request:
    """One command and who waits for it; `task` is None once nobody does."""

    __slots__ = ("command", "owed", "task", "undo")

    def __init__(
        self, command: Command, task: trio.lowlevel.Task | None, undo: Undo | None
    ) -> None:
        self.command = command
        self.task = task
        self.undo = undo
        self.owed = task is None

    def __repr__(self) -> str:
        return describe(self.command)

    @property
    def is_wanted(self) -> bool:
        return self.owed or self.task is not None


class Gatherer:
    """Send the commands of many tasks together, a pipeline at a time."""

    def __init__(
        self, execute: Callable[[Sequence[Command]], Sequence[Any]], *, max_queued: int
    ) -> None:
        """Wrap a function that nobody else may call from now on.

        Args:
            execute: Blocks; returns a reply or an exception for each command.
            max_queued: Callers that may wait at once; one more is refused.
        """
        self._execute = execute
        self._max_queued = max_queued
        self._waiting = 0
        self._closed = False
        self._queue: queue.SimpleQueue[_Request | Callable[[], None] | None] = (
            queue.SimpleQueue()
        )
        # Touched by the worker thread only.
        self._owed: list[_Request] = []

    def __repr__(self) -> str:
        state = "closed" if self._closed else "open"
        return f"<Gatherer: {state}, {self._waiting} waiting>"

    async def call(self, *command: str | bytes, undo: Undo | None = None) -> Any:
        """Send one command and return its reply.

        Args:
            command: Name and arguments.
            undo: Given the reply of a command whose caller has left, returns the
                command that undoes it, or None if there is nothing to undo.

        Raises:
            StoreUnreachable: Redis could not be reached, or the connection was lost
                before the reply: the command may have been executed.
            StoreFailed: Redis answered with an error.

        Cancellation:
            Leaves at once. The command is not sent, or is undone when its reply
            comes. Between the reply and the return there is no checkpoint.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        self._admit()
        request = _Request(command, trio.lowlevel.current_task(), undo)
        self._waiting += 1
        self._queue.put(request)

        def abandon(_: Any) -> trio.lowlevel.Abort:
            request.task = None
            self._waiting -= 1
            return trio.lowlevel.Abort.SUCCEEDED

        return await trio.lowlevel.wait_task_rescheduled(abandon)

    def owe(self, *command: str | bytes) -> None:
        """Send one command as soon as can be, again and again until it is answered.

        It returns at once and nobody learns the reply; an error reply is logged.
        A connection lost between command and reply makes it happen twice.
        """
        self._queue.put(_Request(command, None, None))

    def start(self) -> Callable[[], None]:
        """Start the worker thread.

        Returns:
            A function that blocks until the thread has ended; `finish` first.
        """
        deliver = trio.lowlevel.current_trio_token().run_sync_soon
        # A daemon, so that a crash elsewhere is not a process that never ends.
        thread = threading.Thread(
            target=self._work, args=(deliver,), name="triopoll-redis", daemon=True
        )
        thread.start()
        return thread.join

    async def finish(self) -> None:
        """Refuse new calls, and let the worker end when all is sent and undone.

        What is owed is tried once more; what Redis does not take then is logged.

        Cancellation:
            Must be shielded: the worker would go on for ever.
        """
        self._closed = True
        # Replies come back in order. Once this mark has, each command that was in
        # the queue has been answered, and what undoes it is in the queue.
        settled = trio.Event()
        self._queue.put(settled.set)
        await settled.wait()
        self._queue.put(None)

    def _admit(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError("the store has been closed")
        if self._waiting >= self._max_queued:
            raise StoreUnreachable(f"{self._waiting} commands are waiting already")

    # --- on the worker thread ---------------------------------------------------

    def _work(self, deliver: Callable[..., object]) -> None:
        mark: Callable[[], None] | None = _no_mark
        while mark is not None:
            batch, mark = self._take()
            if batch:
                replies = self._execute([request.command for request in batch])
                self._keep_owed(batch, replies)
                deliver(self._deliver, batch, replies)
            if mark is not None:
                deliver(mark)
        for request in self._owed:
            _log.error("Redis was away to the end, given up: %s", request)

    def _take(self) -> tuple[list[_Request], Callable[[], None] | None]:
        """Return all that has gathered up to a mark, what is owed first, and the mark.

        The mark is None for the end. Without anything owed it waits for a command.
        """
        batch, self._owed = self._owed, []
        try:
            item = self._queue.get(timeout=_OWED_RETRY if batch else None)
            while isinstance(item, _Request):
                if item.is_wanted:
                    batch.append(item)
                if len(batch) >= _MAX_BATCH:
                    return batch, _no_mark
                item = self._queue.get_nowait()
        except queue.Empty:
            return batch, _no_mark
        return batch, item

    def _keep_owed(self, batch: Sequence[_Request], replies: Sequence[Any]) -> None:
        for request, reply in zip(batch, replies, strict=True):
            if not request.owed:
                continue
            if isinstance(reply, redis.ResponseError):
                _log.error("Redis refused what it was owed: %s: %s", request, reply)
            elif isinstance(reply, Exception):
                self._owed.append(request)

    # --- back in trio -----------------------------------------------------------

    def _deliver(self, batch: Sequence[_Request], replies: Sequence[Any]) -> None:
        abandoned: list[Command] = []
        for request, reply in zip(batch, replies, strict=True):
            if request.task is not None:
                self._waiting -= 1
                trio.lowlevel.reschedule(request.task, _result_of(reply))
            elif (command := _undoing(request, reply)) is not None:
                abandoned.append(command)
        # Backwards: what was popped last goes back to the head of its list first.
        for command in reversed(abandoned):
            self.owe(*command)


def _no_mark() -> None:
    pass


def _undoing(request: _Request, reply: Any) -> Command | None:
    if request.undo is None or isinstance(reply, Exception):
        return None
    return request.undo(reply)


def _result_of(reply: Any) -> outcome.Outcome[Any]:
    if isinstance(reply, Exception):
        return outcome.Error(_translate(reply))
    return outcome.Value(reply)


def _translate(error: Exception) -> StoreError:
    """Return an error for one caller; each needs its own, for its own traceback."""
    kind = StoreFailed if isinstance(error, redis.ResponseError) else StoreUnreachable
    translated = kind(str(error) or type(error).__name__)
    translated.__cause__ = error
    return translated
