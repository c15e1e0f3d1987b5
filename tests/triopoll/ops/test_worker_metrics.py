"""Workers that send each other their numbers."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import pytest
import trio
import trio.testing

from triopoll.ops.worker_metrics import WorkerMetrics, worker_metrics_from
from triopoll.ops.worker_sockets import WorkerSockets
from triopoll.settings import WORKER_VARIABLE


def workers(name: str, directory: Path) -> WorkerMetrics:
    return WorkerMetrics(WorkerSockets(name, directory, 2, "metrics"))


async def test_all_workers_answer(tmp_path: Path) -> None:
    """The worker that is asked returns those of all, in order."""
    first, second = (workers(str(n), tmp_path) for n in range(2))
    async with trio.open_nursery() as nursery:
        await nursery.start(first.run, lambda: b"one")
        await nursery.start(second.run, lambda: b"two" * 100_000)
        assert await first.snapshots(b"1") == {"0": b"1", "1": b"two" * 100_000}
        assert await second.snapshots(b"2") == {"0": b"one", "1": b"2"}
        nursery.cancel_scope.cancel()
    assert os.listdir(tmp_path) == []


async def test_a_worker_that_is_gone(tmp_path: Path) -> None:
    """Its numbers are missing at once; its successor takes its place."""
    first = workers("0", tmp_path)
    assert await first.snapshots(b"1") == {"0": b"1", "1": None}
    left_behind = trio.socket.socket(trio.socket.AF_UNIX)
    await left_behind.bind(str(tmp_path / "metrics-1"))
    left_behind.close()
    assert await first.snapshots(b"1") == {"0": b"1", "1": None}
    async with trio.open_nursery() as nursery:
        await nursery.start(workers("1", tmp_path).run, lambda: b"again")
        assert await first.snapshots(b"1") == {"0": b"1", "1": b"again"}
        nursery.cancel_scope.cancel()


@pytest.mark.slow
async def test_a_worker_that_hangs(tmp_path: Path) -> None:
    """It is waited for a second, not for ever."""
    listening = trio.socket.socket(trio.socket.AF_UNIX)
    await listening.bind(str(tmp_path / "metrics-1"))
    listening.listen(1)
    with listening, trio.fail_after(3):
        assert await workers("0", tmp_path).snapshots(b"1") == {
            "0": b"1",
            "1": None,
        }


async def test_a_worker_that_talks_too_much(tmp_path: Path) -> None:
    """A snapshot above the limit is not read to its end."""
    async with trio.open_nursery() as nursery:
        endless = workers("1", tmp_path)
        await nursery.start(endless.run, lambda: b"x" * (2**22 + 1))
        found = await workers("0", tmp_path).snapshots(b"1")
        assert found == {"0": b"1", "1": None}
        nursery.cancel_scope.cancel()


async def test_an_answer_that_fails(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is missing, and the error in the log; the next one is sent."""
    answers = [b"fine"]
    async with trio.open_nursery() as nursery:
        await nursery.start(workers("1", tmp_path).run, answers.pop)
        asking = workers("0", tmp_path)
        assert await asking.snapshots(b"") == {"0": b"", "1": b"fine"}
        assert await asking.snapshots(b"") == {"0": b"", "1": None}
        answers.append(b"again")
        assert await asking.snapshots(b"") == {"0": b"", "1": b"again"}
        nursery.cancel_scope.cancel()
    assert [record.message for record in caplog.records] == [
        "cannot send the metrics of this worker to another one"
    ]


async def test_a_socket_that_cannot_be_opened(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Paths of sockets are short; the worker serves on, and the log says why."""
    await workers("0", tmp_path / ("x" * 200)).run(lambda: b"")
    (record,) = caplog.records
    assert (
        "answer without the metrics of this one: AF_UNIX path too long"
        in record.message
    )


async def test_a_process_without_others() -> None:
    """It opens no socket and asks no other worker."""
    alone = worker_metrics_from({})
    await alone.run(lambda: b"")
    assert await alone.snapshots(b"1") == {"0": b"1"}
    assert repr(alone) == "<WorkerMetrics: worker 0, 0 others>"


def test_where_the_others_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """A supervisor's variable says it; another server's child has its process id."""
    placed = worker_metrics_from({WORKER_VARIABLE: "1/3:/run/a:b/c"})
    assert repr(placed) == "<WorkerMetrics: worker 1, 2 others>"
    monkeypatch.setattr(multiprocessing, "parent_process", object)
    assert worker_metrics_from({}).name == str(os.getpid())


async def test_a_worker_that_leaves_before_its_answer(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """That is no error of the worker that answers, which goes on answering."""
    asked = trio.Event()

    def snapshot() -> bytes:
        asked.set()
        return b"x" * 2**21

    async with trio.open_nursery() as nursery:
        await nursery.start(workers("1", tmp_path).run, snapshot)
        stream = await trio.open_unix_socket(str(tmp_path / "metrics-1"))
        await stream.send_eof()
        await asked.wait()
        await stream.aclose()
        await trio.testing.wait_all_tasks_blocked(0.01)
        found = await workers("0", tmp_path).snapshots(b"")
        assert found == {"0": b"", "1": b"x" * 2**21}
        nursery.cancel_scope.cancel()
    assert not caplog.records
