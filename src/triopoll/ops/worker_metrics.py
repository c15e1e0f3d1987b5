"""The numbers of all workers of one server, collected at a scrape.

Each worker sends its snapshot to whichever worker is scraped. So a scrape has a cost,
and counting has none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import trio

from .worker_sockets import WorkerSockets, worker_sockets_from

__all__ = ["WorkerMetrics", "worker_metrics_from"]


class WorkerMetrics:
    """The workers of one server, this one among them.

    Attributes:
        name: Of this worker.
    """

    def __init__(self, sockets: WorkerSockets) -> None:
        """Use the sockets of the topic; none is opened."""
        self.name = sockets.name
        self._sockets = sockets

    def __repr__(self) -> str:
        others = len(self._sockets.others)
        return f"<WorkerMetrics: worker {self.name}, {others} others>"

    async def run(  # noqa: ASYNC128  # the sockets call it
        self,
        snapshot: Callable[[], bytes],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Answer the other workers until cancelled; see `WorkerSockets.run`.

        Cancellation:
            The socket is closed and removed.
        """

        async def answer(_question: bytes) -> bytes:
            return snapshot()

        await self._sockets.run(answer, task_status=task_status)

    async def snapshots(self, own: bytes) -> dict[str, bytes | None]:
        """Return the snapshots of all workers; None for one that did not answer.

        Args:
            own: That of this one.

        Cancellation:
            Nothing is left behind.
        """
        found = await self._sockets.ask_others(b"")
        return dict(sorted({**found, self.name: own}.items()))


def worker_metrics_from(environ: Mapping[str, str]) -> WorkerMetrics:
    """Return the workers of this process's server; see `worker_sockets_from`."""
    return WorkerMetrics(worker_sockets_from(environ, "metrics"))
