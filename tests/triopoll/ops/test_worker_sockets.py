"""Questions from one worker to another; test_worker_metrics has the rest."""

from __future__ import annotations

from pathlib import Path

import trio

from triopoll.ops.worker_sockets import WorkerSockets, worker_sockets_from
from triopoll.settings import WORKER_VARIABLE


async def upper(question: bytes) -> bytes:
    return question.upper()


async def test_a_question_has_its_answer(tmp_path: Path) -> None:
    """One worker is asked, or all others; each topic has sockets of its own."""
    workers = [WorkerSockets(str(n), tmp_path, 3, "words") for n in range(3)]
    async with trio.open_nursery() as nursery:
        await nursery.start(workers[1].run, upper)
        assert await workers[0].ask("1", b"hello") == b"HELLO"
        assert await workers[0].ask_others(b"all") == {"1": b"ALL", "2": None}
        other_topic = WorkerSockets("0", tmp_path, 3, "numbers")
        assert await other_topic.ask("1", b"hello") is None
        nursery.cancel_scope.cancel()


async def test_a_question_that_is_too_long(tmp_path: Path) -> None:
    """It is read up to a limit and not answered; the next one is."""
    workers = [WorkerSockets(str(n), tmp_path, 2, "words") for n in range(2)]
    async with trio.open_nursery() as nursery:
        await nursery.start(workers[1].run, upper)
        assert await workers[0].ask("1", b"x" * (2**16 + 1)) is None
        assert await workers[0].ask("1", b"again") == b"AGAIN"
        nursery.cancel_scope.cancel()


async def test_a_process_without_others() -> None:
    """There is no worker to ask, and no socket to listen on."""
    alone = worker_sockets_from({}, "words")
    await alone.run(upper)
    assert await alone.ask_others(b"all") == {}
    assert repr(alone) == "<WorkerSockets: words, worker 0, 0 others>"
    placed = worker_sockets_from({WORKER_VARIABLE: "1/3:/run/x"}, "words")
    assert placed.others == ["0", "2"]
