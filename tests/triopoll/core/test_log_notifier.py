"""Wakes over an engine in this process, on a clock that jumps."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import trio
from tests.triopoll.logrig import PREFIX, LogRig, open_log_rig
from trio.testing import MockClock, wait_all_tasks_blocked

from triopoll.core import log_notifier as module
from triopoll.core.log_notifier import group_key
from triopoll.core.parked_waits import TooManyWaits
from triopoll.store import StoreUnreachable
from trioslock import GroupEvent
from trioslock.embedded import open_embedded


@pytest.fixture
async def rig() -> AsyncIterator[LogRig]:
    async with open_log_rig() as rig:
        yield rig


@pytest.fixture
def no_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing be found but by a wake."""
    monkeypatch.setattr(module, "_SWEEP", 1e6)


async def follow(rig: LogRig, keys: tuple[str, ...], seen: list[list[str]]) -> None:
    with rig.wakes.watching(keys) as watch:
        while True:
            seen.append(sorted(await watch.changed()))


async def test_a_wait_begins_with_a_look(
    autojump_clock: MockClock, rig: LogRig, no_sweep: None
) -> None:
    """Once the group is cleared there is one, and then none until there is news."""
    seen: list[list[str]] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(follow, rig, ("a",), seen)
        await wait_all_tasks_blocked()
        assert seen == [["a"]]
        assert await rig.waiting() == 1
        assert await rig.wake("a")
        await wait_all_tasks_blocked()
        assert seen == [["a"], ["a"]]
        assert await rig.waiting() == 1
        nursery.cancel_scope.cancel()


async def test_waits_of_one_log_share_a_waiter(
    autojump_clock: MockClock, rig: LogRig, no_sweep: None
) -> None:
    """A hundred of them are one on slock, and all are woken."""
    seen: list[list[str]] = []
    async with trio.open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(follow, rig, ("a",), seen)
        await wait_all_tasks_blocked()
        assert await rig.waiting() == 1
        assert len(rig.wakes) == 1
        seen.clear()
        await rig.wake("a")
        await wait_all_tasks_blocked()
        assert seen == [["a"]] * 100
        nursery.cancel_scope.cancel()


async def test_a_wait_for_several_logs(
    autojump_clock: MockClock, rig: LogRig, no_sweep: None
) -> None:
    """It is told for which of them there may be news."""
    seen: list[list[str]] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(follow, rig, ("a", "b", "a", "c"), seen)
        await wait_all_tasks_blocked()
        assert {key for keys in seen for key in keys} == {"a", "b", "c"}
        assert await rig.waiting() == 3
        seen.clear()
        await rig.wake("b")
        await wait_all_tasks_blocked()
        assert seen == [["b"]]
        nursery.cancel_scope.cancel()


async def test_a_wake_before_the_wait_is_kept(
    autojump_clock: MockClock, rig: LogRig, no_sweep: None
) -> None:
    """Whoever has registered misses nothing while he does something else."""
    with rig.wakes.watching(("a",)) as watch:
        await watch.changed()
        await rig.wake("a")
        await wait_all_tasks_blocked()
        with trio.CancelScope() as scope:
            scope.cancel()
            await watch.changed()
        assert scope.cancelled_caught
        assert list(await watch.changed()) == ["a"]


async def test_a_second_wake_before_the_wait_begins_anew(
    autojump_clock: MockClock,
    rig: LogRig,
    no_sweep: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Those who have looked after the first one already look once more."""
    seen: list[list[str]] = []
    tell = module._Channel.wake

    async def tell_and_wake(topic: module._Channel) -> None:
        await tell(topic)
        monkeypatch.undo()
        while len(seen) < 2:  # noqa: ASYNC110
            await trio.lowlevel.checkpoint()
        assert await rig.waiting() == 0
        assert await rig.wake("a")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(follow, rig, ("a",), seen)
        await wait_all_tasks_blocked()
        monkeypatch.setattr(module._Channel, "wake", tell_and_wake)
        await rig.wake("a")
        await wait_all_tasks_blocked()
        assert len(seen) == 3
        nursery.cancel_scope.cancel()


async def test_two_processes_share_a_group(
    autojump_clock: MockClock, no_sweep: None
) -> None:
    """Both adopt the same version, whoever came first, and both are woken."""
    async with open_log_rig() as rig, open_embedded(rig.host) as client:
        other = module.LogNotifier(client, rig.log, prefix=PREFIX, max_keys=9, limit=5)
        seen: list[list[str]] = []
        async with trio.open_nursery() as nursery:
            await nursery.start(other.run)
            nursery.start_soon(follow, rig, ("a",), seen)
            await wait_all_tasks_blocked()
            with other.watching(("a",)) as watch:
                await watch.changed()
                for _ in range(5):
                    assert await other.publish("a")
                    assert list(await watch.changed()) == ["a"]
                    await wait_all_tasks_blocked()
            assert len(seen) == 6
            assert trio.current_time() < 0.1
            nursery.cancel_scope.cancel()


async def test_nobody_waits(autojump_clock: MockClock, rig: LogRig) -> None:
    """The publisher is told so."""
    assert not await rig.wakes.publish("a")
    await rig.wakes.tell_here("a")


async def test_a_look_that_finds_something_costs_slock_nothing(
    autojump_clock: MockClock, rig: LogRig
) -> None:
    """Only who waits is waited for."""
    with rig.wakes.watching(("a",)):
        assert len(rig.wakes) == 1
        await wait_all_tasks_blocked()
        assert await rig.waiting() == 0
    assert len(rig.wakes) == 0


async def test_the_wait_lingers(
    autojump_clock: MockClock, rig: LogRig, no_sweep: None
) -> None:
    """The next poll finds it there; when none comes, nothing is left."""
    for _ in range(3):
        with rig.wakes.watching(("a",)) as watch, trio.move_on_after(30):
            while True:
                await watch.changed()
        await trio.sleep(4)
        assert await rig.waiting() == 1
        assert repr(rig.wakes) == "<LogNotifier: 1 logs, 1 of them lingering>"
    await trio.sleep(2)
    assert await rig.waiting() == 0
    assert len(rig.wakes) == 0


async def test_a_watch_that_comes_when_the_linger_ends(
    autojump_clock: MockClock, rig: LogRig, no_sweep: None
) -> None:
    """It is no wait that nobody wakes: the task that ends is replaced."""
    with rig.wakes.watching(("a",)) as watch:
        await watch.changed()
    topic = rig.wakes._topics["a"]
    assert topic.scope is not None
    topic.scope.cancel()
    with rig.wakes.watching(("a",)) as watch:
        await watch.changed()
        await rig.wake("a")
        with trio.fail_after(1):
            await watch.changed()
        assert len(rig.wakes) == 1


async def test_as_many_as_may_be(autojump_clock: MockClock) -> None:
    """Those that linger make room, the longest one first; then a wait is refused."""
    async with open_log_rig(max_keys=3) as rig:
        for key in "abc":
            with rig.wakes.watching((key,)) as watch:
                await watch.changed()
        with rig.wakes.watching(("d",)) as watch:
            await watch.changed()
            assert len(rig.wakes) == 3
            with rig.wakes.watching(("b", "c")):
                for keys in (("a",), ("b", "e")):
                    with pytest.raises(TooManyWaits):
                        with rig.wakes.watching(keys):
                            pass
            assert await rig.waiting() == 3
            with rig.wakes.watching(("e",)):
                assert set(rig.wakes._topics) == {"c", "d", "e"}


async def test_a_message_without_a_wake(autojump_clock: MockClock, rig: LogRig) -> None:
    """It is found within 5 s, by everybody, wherever in the sweep it comes."""
    await rig.log.put("a", b"0")
    seen: list[list[str]] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(follow, rig, ("a",), seen)
        nursery.start_soon(follow, rig, ("a", "b"), seen)
        for pause in (10.0, 0.1, 1.3, 3.1, 20.0):
            await trio.sleep(pause)
            await wait_all_tasks_blocked()
            seen.clear()
            await rig.log.put("a", b"1")
            await trio.sleep(5)
            assert seen.count(["a"]) >= 2
        nursery.cancel_scope.cancel()


async def test_the_sweep_is_quiet_where_nothing_happens(
    autojump_clock: MockClock, rig: LogRig
) -> None:
    """One look for the first mark, and no more."""
    seen: list[list[str]] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(follow, rig, ("a",), seen)
        await trio.sleep(100)
        assert len(seen) == 2
        nursery.cancel_scope.cancel()


async def test_many_logs_are_swept_in_time(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In batches, spread over the time."""
    monkeypatch.setattr(module, "_SWEEP_BATCH", 7)
    async with open_log_rig(max_keys=100) as rig:
        keys = tuple(f"k{number}" for number in range(50))
        seen: list[list[str]] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(follow, rig, keys, seen)
            await trio.sleep(10)
            seen.clear()
            for key in keys:
                await rig.log.put(key, b"1")
            await trio.sleep(5)
            assert {key for each in seen for key in each} == set(keys)
            nursery.cancel_scope.cancel()


async def test_a_server_that_has_lost_its_memory(
    autojump_clock: MockClock, rig: LogRig, no_sweep: None
) -> None:
    """A group starts above all versions that anybody may come back with."""
    with rig.wakes.watching(("a",)) as watch:
        await watch.changed()
        group = rig.publisher.group_event(group_key(PREFIX, "a"), ttl=60, version=7)
        with trio.fail_after(0.1):
            await group.wait()
        assert group.version > 7


async def test_a_storm_of_wakes(
    autojump_clock: MockClock, rig: LogRig, no_sweep: None
) -> None:
    """Ten thousand wakes without a message cost looks by the time, not by number."""
    seen: list[list[str]] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(follow, rig, ("a",), seen)
        await wait_all_tasks_blocked()
        for _ in range(1000):
            for _ in range(10):
                await rig.wake("a")
            await trio.sleep(0.01)
        # Fifty a second, those at once, and that each may have been told twice.
        assert len(seen) < 2 * (10 / 0.02 + 12)
        await trio.sleep(1)
        seen.clear()
        await rig.wake("a")
        await wait_all_tasks_blocked()
        assert len(seen) == 1
        nursery.cancel_scope.cancel()


async def test_a_lease_that_ends(
    autojump_clock: MockClock, rig: LogRig, no_sweep: None
) -> None:
    """Everybody looks once, and the group is cleared again."""
    seen: list[list[str]] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(follow, rig, ("a",), seen)
        await trio.sleep(3600)
        assert 3600 / 125 - 2 < len(seen) < 2 * 3600 / 115
        seen.clear()
        await rig.wake("a")
        await wait_all_tasks_blocked()
        assert len(seen) == 1
        nursery.cancel_scope.cancel()


async def test_a_flushed_server(
    autojump_clock: MockClock, rig: LogRig, no_sweep: None
) -> None:
    """The wait begins anew, after a pause."""
    seen: list[list[str]] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(follow, rig, ("a",), seen)
        await wait_all_tasks_blocked()
        for _ in range(10):
            rig.peer.flush_database(0)
            await trio.sleep(2)
        assert await rig.waiting() == 1
        assert len(seen) < 25
        seen.clear()
        await rig.wake("a")
        await wait_all_tasks_blocked()
        assert len(seen) == 1
        nursery.cancel_scope.cancel()


async def test_a_lock_on_the_key_of_a_group(
    autojump_clock: MockClock, rig: LogRig
) -> None:
    """There are no wakes then, and no error: the sweep goes on, and it is not hot."""
    key = group_key(PREFIX, "a")
    seen: list[list[str]] = []
    async with rig.publisher.lock(key, lease=3600):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(follow, rig, ("a",), seen)
            await trio.sleep(60)
            assert len(seen) < 130
            seen.clear()
            await rig.log.put("a", b"1")
            await trio.sleep(5)
            assert seen
            nursery.cancel_scope.cancel()


async def test_the_store_is_away(
    autojump_clock: MockClock, rig: LogRig, caplog: pytest.LogCaptureFixture
) -> None:
    """The sweep says so once, and goes on when it is back."""
    seen: list[list[str]] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(follow, rig, ("a",), seen)
        await trio.sleep(5)
        rig.log.fault = StoreUnreachable("gone")
        await trio.sleep(20)
        assert not rig.wakes.store_up
        assert caplog.messages == ["the logs cannot be looked at: gone"]
        rig.log.fault, rig.log.hangs = None, True
        await trio.sleep(20)
        assert not rig.wakes.store_up
        rig.log.hangs = False
        await rig.log.put("a", b"1")
        seen.clear()
        await trio.sleep(10)
        assert rig.wakes.store_up
        assert set(map(tuple, seen)) == {("a",)}
        nursery.cancel_scope.cancel()


async def test_news_that_is_told_here(
    autojump_clock: MockClock, rig: LogRig, no_sweep: None
) -> None:
    """A publisher in the same process needs no slock for those beside it."""
    seen: list[list[str]] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(follow, rig, ("a",), seen)
        await wait_all_tasks_blocked()
        seen.clear()
        await rig.wakes.tell_here("a")
        await wait_all_tasks_blocked()
        assert seen == [["a"]]
        nursery.cancel_scope.cancel()


async def test_wakes_that_do_not_run(autojump_clock: MockClock) -> None:
    """It is our own mistake, and is told as one."""
    async with open_log_rig() as rig:
        idle = module.LogNotifier(
            rig.client, rig.log, prefix=PREFIX, max_keys=9, limit=5
        )
        with idle.watching(("a",)) as watch:
            with pytest.raises(RuntimeError, match="do not run"):
                await watch.changed()


async def test_nothing_waits_when_they_have_ended(autojump_clock: MockClock) -> None:
    """Ending withdraws what waits on slock."""
    async with open_log_rig() as rig:
        idle = module.LogNotifier(
            rig.client, rig.log, prefix=PREFIX, max_keys=9, limit=5
        )
        async with trio.open_nursery() as nursery:
            await nursery.start(idle.run)
            with idle.watching(("a",)) as watch:
                await watch.changed()
                await wait_all_tasks_blocked()
                assert await rig.waiting() == 1
                nursery.cancel_scope.cancel()
        assert await rig.waiting() == 0


async def test_a_crowd_of_new_logs_begins_a_few_at_a_time(
    autojump_clock: MockClock, no_sweep: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All at once would keep everybody else from running for seconds."""
    begun = most = 0
    clear_group = module.clear_group

    async def counting(group: GroupEvent) -> None:
        nonlocal begun, most
        begun += 1
        most = max(most, begun)
        await clear_group(group)
        begun -= 1

    monkeypatch.setattr(module, "clear_group", counting)
    keys = tuple(f"k{n}" for n in range(1000))
    seen: list[list[str]] = []
    async with open_log_rig(max_keys=1000) as rig, trio.open_nursery() as nursery:
        nursery.start_soon(follow, rig, keys, seen)
        with trio.fail_after(5):
            while await rig.waiting() < 1000:
                await trio.sleep(0.01)
        assert 1 < most <= 32
        assert {key for news in seen for key in news} == set(keys)
        nursery.cancel_scope.cancel()
