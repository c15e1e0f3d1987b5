"""The limit on what waits to be read by all slow clients together."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from tests.triopoll.server.sockets import connected

from triopoll.server.errors import PeerGone
from triopoll.server.send_budget import SendBudget


class Writes:
    """Writes that wait until they are cut or let go."""

    def __init__(self, budget: SendBudget, nursery: trio.Nursery) -> None:
        self.budget, self.nursery = budget, nursery
        self.scopes: dict[str, trio.CancelScope] = {}
        self.cut: list[str] = []
        self.go = trio.Event()

    async def start(self, name: str, size: int) -> None:
        self.nursery.start_soon(self._write, name, size)
        await trio.testing.wait_all_tasks_blocked()

    async def _write(self, name: str, size: int) -> None:
        with self.budget.wait(size) as scope:
            self.scopes[name] = scope
            await self.go.wait()
        if scope.cancelled_caught:
            self.cut.append(name)


async def test_the_longest_wait_is_cut_first() -> None:
    """As many as are needed, oldest progress first; the others stay."""
    budget = SendBudget(100)
    async with trio.open_nursery() as nursery:
        writes = Writes(budget, nursery)
        for name in ("a", "b", "c"):
            await writes.start(name, 30)
        assert repr(budget) == "<SendBudget: 90 of 100 bytes wait>"
        budget.progress(writes.scopes["a"])
        await writes.start("d", 30)
        assert writes.cut == ["b"]
        await writes.start("e", 60)
        assert sorted(writes.cut) == ["a", "b", "c"]
        assert (budget.waiting, budget.cut) == (90, 3)
        # One that was cut has no more progress.
        budget.progress(writes.scopes["a"])
        writes.go.set()
    assert budget.waiting == 0


async def test_a_write_above_the_limit_is_cut_itself() -> None:
    """With all others: they had waited longer."""
    budget = SendBudget(100)
    async with trio.open_nursery() as nursery:
        writes = Writes(budget, nursery)
        await writes.start("small", 10)
        await writes.start("big", 101)
    assert sorted(writes.cut) == ["big", "small"]
    assert budget.waiting == 0


async def test_a_cancelled_write_waits_no_more() -> None:
    """However its block is left."""
    budget = SendBudget(100)
    with trio.move_on_after(0), budget.wait(50):
        await trio.sleep_forever()
    assert budget.waiting == 0
    with pytest.raises(LookupError), budget.wait(50):
        raise LookupError
    assert budget.waiting == 0


async def test_the_log_has_one_line_a_minute(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """It says how many were cut."""
    budget = SendBudget(10)
    for _ in range(3):
        with budget.wait(11):
            await trio.sleep_forever()
    await trio.sleep(60)
    with budget.wait(11):
        await trio.sleep_forever()
    text = (
        "more than 10 bytes wait to be read by slow clients: those that have read "
        "nothing for the longest time are cut, %d until now"
    )
    assert [record.message for record in caplog.records] == [text % 1, text % 4]


async def test_answers_that_are_read_at_once_do_not_count() -> None:
    """The kernel has taken them: they wait outside of the process."""
    budget = SendBudget(1)
    async with connected(budget=budget) as (stream, peer):
        for _ in range(3):
            await stream.send(b"x" * 1000)
            assert await peer.receive_some() == b"x" * 1000
    assert budget.cut == 0


async def test_a_client_that_is_cut_is_not_written_to_any_more() -> None:
    """Its write fails as if it had left; half of the answer is out."""
    budget = SendBudget(5_000_000)
    async with (
        connected(budget=budget) as (slow, _),
        connected(budget=budget) as (slower, peer),
        trio.open_nursery() as nursery,
    ):

        async def cut() -> None:
            with pytest.raises(PeerGone):
                await slow.send(b"x" * 4_000_000)

        nursery.start_soon(cut)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(slower.send, b"x" * 4_000_000)
        received = 0
        while received < 4_000_000:
            received += len(await peer.receive_some())
        assert not slow.alive
        assert slower.alive
    assert budget.waiting == 0


async def test_progress_keeps_a_write() -> None:
    """A client that reads slowly is not cut while one that does not read is there."""
    # More than the kernel holds of one connection: it stays in the middle.
    much, some = b"x" * 20_000_000, b"x" * 4_000_000
    budget = SendBudget(25_000_000)
    async with (
        connected(budget=budget) as (reads, peer),
        connected(budget=budget) as (idle, _),
        connected(budget=budget) as (late, late_peer),
        trio.open_nursery() as readers,
    ):

        async def cut() -> None:
            with pytest.raises(PeerGone):
                await idle.send(some)

        async with trio.open_nursery() as writers:
            writers.start_soon(reads.send, much)
            await trio.testing.wait_all_tasks_blocked()
            writers.start_soon(cut)
            await trio.testing.wait_all_tasks_blocked()
            order = [*budget._writes]
            while [*budget._writes] == order:
                await peer.receive_some()
            writers.start_soon(late.send, some)
            await trio.testing.wait_all_tasks_blocked()
            assert (reads.alive, idle.alive, late.alive) == (True, False, True)
            readers.start_soon(read_all, peer)
            readers.start_soon(read_all, late_peer)
        readers.cancel_scope.cancel()
    assert budget.cut == 1


async def read_all(stream: trio.SocketStream) -> None:
    while await stream.receive_some(2**20):
        pass
