"""Several workers: how they start, how they end, and the exit code of all together."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trio
import trio.testing
from tests.triopoll.support import eventually

from triopoll.server import supervisor
from triopoll.server.supervisor import (
    EXIT_CUT,
    EXIT_STARTUP,
    supervise,
    watch_lifeline,
)
from triopoll.settings import SUPERVISOR_VARIABLE, WORKER_VARIABLE

# Each start of a worker leaves a file, named PLACE-NUMBER, with what it was given.
WORKER = f"""
import json, os, pathlib, signal, sys
code = {{code}}
place = os.environ["{WORKER_VARIABLE}"].partition("/")[0]
number = len(list(pathlib.Path(sys.argv[1]).glob(place + "-*")))
def leave(*_):
    sys.exit(code)
if code is not None:
    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGUSR1, leave)
given = [sys.argv[2:]]
given += map(os.environ.get, ["{WORKER_VARIABLE}", "{SUPERVISOR_VARIABLE}"])
path = pathlib.Path(sys.argv[1], f"{{{{place}}}}-{{{{number}}}}")
path.with_suffix(".new").write_text(json.dumps(given))
path.with_suffix(".new").rename(path)
{{then}}
"""
WAIT = "signal.pause()"


@dataclass
class Supervised:
    """A supervisor in this process, and what its workers have left."""

    folder: Path
    ended: list[int] = field(default_factory=list)

    def starts(self) -> list[str]:
        return sorted(p.name for p in self.folder.iterdir() if not p.suffix)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        os.kill(os.getpid(), number)


@asynccontextmanager
async def supervised(
    folder: Path,
    code: int | None = 0,
    then: str = WAIT,
    *,
    workers: int = 2,
    sockets: tuple[socket.socket, ...] = (),
) -> AsyncIterator[Supervised]:
    """Run workers in the block, and wait until the supervisor has ended behind it."""
    command = [sys.executable, "-c", WORKER.format(code=code, then=then), str(folder)]
    running = Supervised(folder)

    async def run() -> None:
        running.ended.append(await supervise(command, sockets, workers))

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            yield running


@pytest.mark.slow
async def test_each_worker_knows_its_place(tmp_path: Path) -> None:
    """And how many there are, their directory, and the pipe of the supervisor."""
    async with supervised(tmp_path) as running:
        await eventually(lambda: running.starts() == ["0-0", "1-0"], 20)
        found = [json.loads((tmp_path / name).read_text()) for name in running.starts()]
        running.stop()
    assert running.ended == [0]
    (first, second) = found
    assert first[0][0] == second[0][0] == "--lifeline"
    assert first[0][1] == second[0][1]
    assert first[1].partition(":")[0] == "0/2"
    assert second[1].partition(":")[0] == "1/2"
    directory = Path(first[1].partition(":")[2])
    assert str(directory) == second[1].partition(":")[2]
    assert not os.path.exists(directory)  # noqa: ASYNC240
    assert first[2] == second[2] == str(os.getpid())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "expected"), [(0, 0), (EXIT_CUT, EXIT_CUT), (None, 0), (7, 7)]
)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_exit_code_is_the_greatest_one(
    tmp_path: Path, code: int | None, expected: int, number: signal.Signals
) -> None:
    """A worker that is killed by the signal had not begun to serve: it counts as 0."""
    async with supervised(tmp_path, code) as running:
        await eventually(lambda: len(running.starts()) == 2, 20)
        running.stop(number)
    assert running.ended == [expected]


@pytest.mark.slow
async def test_a_reload_reaches_the_workers(tmp_path: Path) -> None:
    """As a signal that does nothing to a worker which does not handle it yet."""
    then = """
pathlib.Path(sys.argv[1], place + ".starting").touch()
if place == "1":
    signal.signal(signal.SIGURG, lambda *_: path.with_suffix(".reloaded").touch())
    pathlib.Path(sys.argv[1], "ready.x").touch()
while True:
    signal.pause()
"""
    async with supervised(tmp_path, 0, then) as running:
        await eventually((tmp_path / "ready.x").exists, 20)
        await eventually((tmp_path / "0.starting").exists, 20)
        running.stop(signal.SIGHUP)
        await eventually((tmp_path / "1-0.reloaded").exists, 20)
        assert not running.ended
        running.stop()
    assert running.starts() == ["0-0", "1-0"]
    assert running.ended == [0]


@pytest.mark.slow
async def test_new_clients_are_refused_while_workers_drain(tmp_path: Path) -> None:
    """The supervisor's own sockets do not keep the address open."""
    slow = "signal.pause(); import time; time.sleep(0.3)"
    with socket.create_server(("127.0.0.1", 0)) as sock:
        address = sock.getsockname()
        async with supervised(tmp_path, None, slow, sockets=(sock,)) as running:
            await eventually(lambda: len(running.starts()) == 2, 20)
            socket.create_connection(address).close()
            running.stop()
            await eventually(lambda: sock.fileno() == -1)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address)


@pytest.mark.slow
async def test_a_worker_that_dies_is_started_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each time after a longer pause; the other one is left alone."""
    monkeypatch.setattr(supervisor, "_FIRST_BACKOFF", 0.05)
    monkeypatch.setattr(supervisor, "_LONGEST_BACKOFF", 0.15)
    then = (
        "if place == '0' and number < 3: os.kill(os.getpid(), signal.SIGKILL)\n" + WAIT
    )
    async with supervised(tmp_path, 0, then) as running:
        expected = ["0-0", "0-1", "0-2", "0-3", "1-0"]
        await eventually(lambda: running.starts() == expected, 25)
        running.stop()
    assert running.ended == [0]
    pauses = ("0.1", "0.1", "0.1")
    assert [record.message for record in caplog.records] == [
        f"worker 0 died (exit code -9): it is started again in {pause} s"
        for pause in pauses
    ]


@pytest.mark.slow
async def test_a_worker_that_cannot_start_stops_all(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is not tried again: the next start would fail as well."""
    then = f"if place == '1': sys.exit({EXIT_STARTUP})\n" + WAIT
    async with supervised(tmp_path, 0, then) as running:
        pass
    assert running.ended == [EXIT_STARTUP]
    messages = [record.message for record in caplog.records]
    assert messages == ["worker 1 cannot start: all workers are stopped"]


@pytest.mark.parametrize(
    ("code", "expected"),
    [(0, 0), (1, 1), (-signal.SIGTERM, 0), (-signal.SIGUSR1, 0), (-signal.SIGKILL, 1)],
)
def test_what_the_end_of_a_worker_says(code: int, expected: int) -> None:
    """Only a signal that the supervisor has sent says nothing about clients."""
    assert supervisor._exit_code_of(code) == expected


async def test_a_supervisor_that_is_gone_drains_its_worker(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The pipe ends with it, in whatever way it has ended."""
    lifeline, supervisor_end = os.pipe()
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch_lifeline, lifeline)
            await trio.testing.wait_all_tasks_blocked()
            assert not caplog.records
            os.close(supervisor_end)
            with trio.fail_after(5):
                assert await anext(aiter(signals)) == signal.SIGTERM
    os.close(lifeline)
    (record,) = caplog.records
    assert record.message == "the supervisor is gone: this worker drains and stops"
