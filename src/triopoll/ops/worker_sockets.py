"""Questions from one worker of a server to another one.

Workers share their listening sockets, so a request of a client reaches any one of them.
Each worker also listens on Unix sockets of its own, one for each topic, in a directory
that their supervisor has made and that only its user can enter. A connection is one
question and its answer: bytes, both up to their end.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path

import trio

from ..settings import WORKER_VARIABLE

__all__ = ["WorkerSockets", "worker_sockets_from"]

# Seconds that a worker may take to answer: it may be busy or gone.
_ANSWER_SECONDS = 1.0
_MAX_QUESTION_BYTES = 2**16
_MAX_ANSWER_BYTES = 2**22

_log = logging.getLogger("triopoll")

_Answer = Callable[[bytes], Awaitable[bytes]]


class WorkerSockets:
    """The workers of one server, this one among them, for one topic.

    Attributes:
        name: Of this worker.
        others: The names of the other ones.
    """

    def __init__(
        self, name: str, directory: Path | None, count: int, topic: str
    ) -> None:
        """Describe the workers; no socket is opened.

        Args:
            name: Of this worker: its place, a number, where there is a supervisor.
            directory: Where the sockets are; None where there are no other workers.
            count: How many workers there are.
            topic: What is asked for, in the names of the sockets and in the log.
        """
        self.name = name
        self.others = [str(n) for n in range(count) if str(n) != name]
        self._directory = directory
        self._topic = topic

    def __repr__(self) -> str:
        others = len(self.others)
        return f"<WorkerSockets: {self._topic}, worker {self.name}, {others} others>"

    async def run(
        self,
        answer: _Answer,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Answer the other workers until cancelled; started once they can ask.

        Where the socket cannot be opened, the log says so, and the other workers do not
        get these answers: the service itself does not need them.

        Args:
            answer: Returns the answer to a question; it is given up after a second.
            task_status: Trio's.

        Cancellation:
            The socket is closed and removed.
        """
        with contextlib.ExitStack() as stack:
            listener = None
            if self._directory is not None:
                listener = await self._listen(stack, self._path(self.name))
            task_status.started()
            if listener is not None:
                await trio.serve_listeners(partial(self._serve, answer), [listener])

    async def ask_others(self, question: bytes) -> dict[str, bytes | None]:
        """Return the answers of all other workers; None for one that did not answer.

        Cancellation:
            Nothing is left behind.
        """
        found: dict[str, bytes | None] = {}

        async def ask(other: str) -> None:
            found[other] = await self.ask(other, question)

        async with trio.open_nursery() as nursery:
            if self._directory is not None:
                for other in self.others:
                    nursery.start_soon(ask, other)
        return found

    async def ask(self, other: str, question: bytes) -> bytes | None:
        """Return the answer of one other worker, or None if there is none in time.

        Cancellation:
            Nothing is left behind.
        """
        answer: bytes | None = None
        with trio.move_on_after(_ANSWER_SECONDS):
            try:
                stream = await trio.open_unix_socket(str(self._path(other)))
                async with stream:
                    await stream.send_all(question)
                    await stream.send_eof()
                    answer = await _read_all(stream, _MAX_ANSWER_BYTES)
            except (OSError, trio.BrokenResourceError):
                return None
        return answer or None

    def _path(self, name: str) -> Path:
        assert self._directory is not None
        return self._directory / f"{self._topic}-{name}"

    async def _listen(
        self, stack: contextlib.ExitStack, path: Path
    ) -> trio.SocketListener | None:
        """Listen on a socket of this path until the stack is left."""
        listening = stack.enter_context(trio.socket.socket(trio.socket.AF_UNIX))
        try:
            # A worker that was killed leaves its socket to its successor.
            _remove(path)
            await listening.bind(str(path))
            stack.callback(_remove, path)
            listening.listen()
        except OSError as error:
            _log.warning(
                "cannot listen on %s, so other workers answer without the %s of this "
                "one: %s",
                *(path, self._topic, error),
            )
            return None
        return trio.SocketListener(listening)

    async def _serve(self, answer: _Answer, stream: trio.SocketStream) -> None:
        async with stream:
            try:
                with trio.move_on_after(_ANSWER_SECONDS):
                    question = await _read_all(stream, _MAX_QUESTION_BYTES)
                    if question is not None:
                        await stream.send_all(await answer(question))
            except trio.BrokenResourceError:
                pass  # the worker that asked has left
            except Exception:  # noqa: BLE001  # one answer fails, and it is in the log
                _log.exception(
                    "cannot send the %s of this worker to another one", self._topic
                )


def worker_sockets_from(environ: Mapping[str, str], topic: str) -> WorkerSockets:
    """Return the workers of this process's server.

    Args:
        environ: The environment. A supervisor says in it which worker this is and where
            the others are. Without one, this process is worker 0; or, as a child of
            another server with several processes, its name is its process id.
        topic: As for `WorkerSockets`.
    """
    place, _, rest = environ.get(WORKER_VARIABLE, "").partition("/")
    count, _, directory = rest.partition(":")
    if directory:
        return WorkerSockets(place, Path(directory), int(count), topic)
    is_child = multiprocessing.parent_process() is not None
    return WorkerSockets(str(os.getpid()) if is_child else "0", None, 1, topic)


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


async def _read_all(stream: trio.SocketStream, most: int) -> bytes | None:
    """Return what is sent up to its end; None if it is too much."""
    read = bytearray()
    while piece := await stream.receive_some():
        read += piece
        if len(read) > most:
            return None
    return bytes(read)
