"""The numbers of all workers of one server, collected at a scrape.

Workers share their listening sockets, so a scrape reaches any one of them. Each worker
also listens on a Unix socket of its own, in a directory that their supervisor has made
and that only its user can enter, and sends its snapshot to every connection. So a
scrape has a cost, and counting has none.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import trio

from ..settings import WORKER_VARIABLE

__all__ = ["WorkerMetrics", "worker_metrics_from"]

# Seconds that a worker may take to answer: it may be busy or gone.
_ANSWER_SECONDS = 1.0
_MAX_SNAPSHOT_BYTES = 2**22

_log = logging.getLogger("triopoll")


class WorkerMetrics:
    """The workers of one server, this one among them.

    Attributes:
        name: Of this worker.
    """

    def __init__(self, name: str, directory: Path | None = None, count: int = 1):
        """Describe the workers; no socket is opened.

        Args:
            name: Of this worker: its place, a number, where there is a supervisor.
            directory: Where the sockets are; None where there are no other workers.
            count: How many workers there are.
        """
        self.name = name
        self._directory = directory
        self._others = [str(n) for n in range(count) if str(n) != name]

    def __repr__(self) -> str:
        return f"<WorkerMetrics: worker {self.name}, {len(self._others)} others>"

    async def run(
        self,
        snapshot: Callable[[], bytes],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Answer the other workers until cancelled; started once they can ask.

        Where the socket cannot be opened, the log says so, and the other workers do not
        get these numbers: the service itself does not need them.

        Cancellation:
            The socket is closed and removed.
        """
        with contextlib.ExitStack() as stack:
            listener = None
            if self._directory is not None:
                listener = await _listen(stack, self._directory / self.name)
            task_status.started()
            if listener is not None:
                await trio.serve_listeners(partial(_send, snapshot), [listener])

    async def snapshots(self, own: bytes) -> dict[str, bytes | None]:
        """Return the snapshots of all workers; None for one that did not answer.

        Args:
            own: That of this one.

        Cancellation:
            Nothing is left behind.
        """
        found: dict[str, bytes | None] = {self.name: own}

        async def ask(directory: Path, other: str) -> None:
            found[other] = await _ask(directory / other)

        async with trio.open_nursery() as nursery:
            if self._directory is not None:
                for other in self._others:
                    nursery.start_soon(ask, self._directory, other)
        return dict(sorted(found.items()))


def worker_metrics_from(environ: Mapping[str, str]) -> WorkerMetrics:
    """Return the workers of this process's server.

    Args:
        environ: The environment. A supervisor says in it which worker this is and where
            the others are. Without one, this process is worker 0; or, as a child of
            another server with several processes, its name is its process id.
    """
    place, _, rest = environ.get(WORKER_VARIABLE, "").partition("/")
    count, _, directory = rest.partition(":")
    if directory:
        return WorkerMetrics(place, Path(directory), int(count))
    if multiprocessing.parent_process() is not None:
        return WorkerMetrics(str(os.getpid()))
    return WorkerMetrics("0")


async def _listen(
    stack: contextlib.ExitStack, path: Path
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
            "cannot listen on %s, so other workers answer /metrics without the numbers "
            "of this one: %s",
            *(path, error),
        )
        return None
    return trio.SocketListener(listening)


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


async def _send(snapshot: Callable[[], bytes], stream: trio.SocketStream) -> None:
    async with stream:
        try:
            with trio.move_on_after(_ANSWER_SECONDS):
                await stream.send_all(snapshot())
        except trio.BrokenResourceError:
            pass  # the worker that asked has left
        except Exception:  # noqa: BLE001  # one answer fails, and it is in the log
            _log.exception("cannot send the metrics of this worker to another one")


async def _ask(path: Path) -> bytes | None:
    """Return what is sent up to its end, or None if there is none in time."""
    answer = bytearray()
    with trio.move_on_after(_ANSWER_SECONDS):
        try:
            async with await trio.open_unix_socket(str(path)) as stream:
                while piece := await stream.receive_some():
                    answer += piece
                    if len(answer) > _MAX_SNAPSHOT_BYTES:
                        return None
        except (OSError, trio.BrokenResourceError):
            return None
        return bytes(answer) or None
    return None
