"""Subscriptions over an engine in this process, on a clock that jumps."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

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


@asynccontextmanager
async def following(
    rig: LogRig, *subscriptions: Iterable[str]
) -> AsyncIterator[list[list[str]]]:
    """Subscribe, and yield a list that grows by the keys of each wake.

    Args:
        rig: Has the notifier.
        subscriptions: The keys of each.
    """
    seen: list[list[str]] = []

    async def follow(keys: Iterable[str]) -> None:
        with rig.notifier.subscribe(keys) as subscription:
            while True:
                seen.append(sorted(await subscription.wait()))

    async with trio.open_nursery() as nursery:
        for keys in subscriptions:
            nursery.start_soon(follow, keys)
        yield seen
        nursery.cancel_scope.cancel()


async def test_a_subscription_begins_with_a_wake(
    autojump_clock: MockClock, rig: LogRig, no_sweep: None
) -> None:
    """One when the group has been cleared, then none until the next message."""
    async with following(rig, "a") as seen:
        await wait_all_tasks_blocked()
        assert seen == [["a"]]
        assert await rig.waiting() == 1
        assert await rig.wake("a")
        await wait_all_tasks_blocked()
        assert seen == [["a"], ["a"]]
        assert await rig.waiting() == 1


async def test_waits_of_one_log_share_a_waiter(
    autojump_clock: MockClock, rig: LogRig, no_sweep: None
) -> None:
    """A hundred of them are one on slock, and all are woken."""
    async with following(rig, *["a"] * 100) as seen:
        await wait_all_tasks_blocked()
        assert await rig.waiting() == 1
        assert len(rig.notifier) == 1
        seen.clear()
        await rig.wake("a")
        await wait_all_tasks_blocked()
        assert seen == [["a"]] * 100


async def test_a_wait_for_several_logs(
    autojump_clock: MockClock, rig: LogRig, no_sweep: None
) -> None:
    """It returns which of them to read."""
    async with following(rig, "abac") as seen:
        await wait_all_tasks_blocked()
        assert {key for keys in seen for key in keys} == {"a", "b", "c"}
        assert await rig.waiting() == 3
        seen.clear()
        await rig.wake("b")
        await wait_all_tasks_blocked()
        assert seen == [["b"]]


async def test_a_wake_before_the_wait_is_kept(
    autojump_clock: MockClock, rig: LogRig, no_sweep: None
) -> None:
    """A subscription misses no wake while its task does something else."""
    with rig.notifier.subscribe(("a",)) as subscription:
        await subscription.wait()
        await rig.wake("a")
        await wait_all_tasks_blocked()
        with trio.CancelScope() as scope:
            scope.cancel()
            await subscription.wait()
        assert scope.cancelled_caught
        assert list(await subscription.wait()) == ["a"]


async def test_a_second_wake_before_the_wait_begins_anew(
    autojump_clock: MockClock,
    rig: LogRig,
    no_sweep: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Tasks that have read after the first one are woken once more."""
    wake = module.Channel.wake

    async def wake_twice(channel: module.Channel, first: module.Wake) -> None:
        await wake(channel, first)
        monkeypatch.undo()
        while len(seen) < 2:  # noqa: ASYNC110
            await trio.lowlevel.checkpoint()
        assert await rig.waiting() == 0
        assert await rig.wake("a")

    async with following(rig, "a") as seen:
        await wait_all_tasks_blocked()
        monkeypatch.setattr(module.Channel, "wake", wake_twice)
        await rig.wake("a")
        await wait_all_tasks_blocked()
        assert len(seen) == 3


async def test_an_older_wake_does_not_replace_a_newer_one(
    autojump_clock: MockClock, rig: LogRig, no_sweep: None
) -> None:
    """What was read for it may be from before the newer one."""
    older = module.Wake()
    newer = module.Wake()
    newer.at = older.at + 1
    with rig.notifier.subscribe(("a",)) as subscription:
        for first, second in ((newer, older), (older, newer)):
            subscription.wake("a", first)
            subscription.wake("a", second)
            assert await subscription.wait() == {"a": newer}


async def test_a_read_that_hangs_holds_nobody_back(
    autojump_clock: MockClock,
    rig: LogRig,
    no_sweep: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Those who have not asked for it are woken soon, and so are those who have."""
    read: Any = partial(trio.sleep_forever)
    woken: list[float] = []

    async def wait(read: Any) -> None:
        with rig.notifier.subscribe(("a",)) as subscription:
            await subscription.wait()
            await subscription.wait(read)
            woken.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        for each in (read, read, None):
            nursery.start_soon(wait, each)
        await wait_all_tasks_blocked()
        began = trio.current_time()
        await rig.wake("a")
        await trio.sleep(2)
    assert len(woken) == 3
    assert max(woken) - began <= 0.6


async def test_two_processes_share_a_group(
    autojump_clock: MockClock, no_sweep: None
) -> None:
    """Both adopt the same version, whichever came first, and both are woken."""
    async with open_log_rig() as rig, open_embedded(rig.host) as client:
        other = module.LogNotifier(client, rig.log, prefix=PREFIX, max_keys=9, limit=5)
        async with trio.open_nursery() as nursery, following(rig, "a") as seen:
            await nursery.start(other.run)
            await wait_all_tasks_blocked()
            with other.subscribe(("a",)) as subscription:
                await subscription.wait()
                for _ in range(5):
                    assert await other.notify("a")
                    assert list(await subscription.wait()) == ["a"]
                    await wait_all_tasks_blocked()
            assert len(seen) == 6
            assert trio.current_time() < 0.1
            nursery.cancel_scope.cancel()


async def test_no_subscription(autojump_clock: MockClock, rig: LogRig) -> None:
    """The publisher learns that."""
    assert not await rig.notifier.notify("a")
    await rig.notifier.notify_local("a")


async def test_a_subscription_that_does_not_wait_costs_slock_nothing(
    autojump_clock: MockClock, rig: LogRig
) -> None:
    """The channel sends nothing before the first wait."""
    with rig.notifier.subscribe(("a",)):
        assert len(rig.notifier) == 1
        await wait_all_tasks_blocked()
        assert await rig.waiting() == 0
    assert len(rig.notifier) == 0


async def test_the_channel_lingers(
    autojump_clock: MockClock, rig: LogRig, no_sweep: None
) -> None:
    """The next poll finds it; without one nothing is left."""
    for _ in range(3):
        with rig.notifier.subscribe(("a",)) as subscription, trio.move_on_after(30):
            while True:
                await subscription.wait()
        await trio.sleep(4)
        assert await rig.waiting() == 1
        assert repr(rig.notifier) == "<LogNotifier: 1 logs, 1 of them lingering>"
    await trio.sleep(2)
    assert await rig.waiting() == 0
    assert len(rig.notifier) == 0


async def test_a_subscription_at_the_end_of_the_linger(
    autojump_clock: MockClock, rig: LogRig, no_sweep: None
) -> None:
    """It is woken: the channel whose task ends is replaced."""
    with rig.notifier.subscribe(("a",)) as subscription:
        await subscription.wait()
    channel = rig.notifier._channels["a"]
    assert channel.scope is not None
    channel.scope.cancel()
    with rig.notifier.subscribe(("a",)) as subscription:
        await subscription.wait()
        await rig.wake("a")
        with trio.fail_after(1):
            await subscription.wait()
        assert len(rig.notifier) == 1


async def test_as_many_as_may_be(autojump_clock: MockClock) -> None:
    """Those that linger make room, the longest one first; then a wait is refused."""
    async with open_log_rig(max_keys=3) as rig:
        for key in "abc":
            with rig.notifier.subscribe((key,)) as subscription:
                await subscription.wait()
        with rig.notifier.subscribe(("d",)) as subscription:
            await subscription.wait()
            assert len(rig.notifier) == 3
            with rig.notifier.subscribe(("b", "c")):
                for keys in (("a",), ("b", "e")):
                    with pytest.raises(TooManyWaits):
                        with rig.notifier.subscribe(keys):
                            pass
            assert await rig.waiting() == 3
            with rig.notifier.subscribe(("e",)):
                assert set(rig.notifier._channels) == {"c", "d", "e"}


async def test_a_message_without_a_wake(autojump_clock: MockClock, rig: LogRig) -> None:
    """All subscriptions are woken within 5 s, wherever in the sweep it comes."""
    await rig.log.put("a", b"0")
    async with following(rig, "a", "ab") as seen:
        for pause in (10.0, 0.1, 1.3, 3.1, 20.0):
            await trio.sleep(pause)
            await wait_all_tasks_blocked()
            seen.clear()
            await rig.log.put("a", b"1")
            await trio.sleep(5)
            assert seen.count(["a"]) >= 2


async def test_the_sweep_is_quiet_where_nothing_happens(
    autojump_clock: MockClock, rig: LogRig
) -> None:
    """One wake for the first head, and no more."""
    async with following(rig, "a") as seen:
        await trio.sleep(100)
        assert len(seen) == 2


async def test_many_logs_are_swept_in_time(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In batches, spread over the time."""
    monkeypatch.setattr(module, "_SWEEP_BATCH", 7)
    async with open_log_rig(max_keys=100) as rig:
        keys = tuple(f"k{number}" for number in range(50))
        async with following(rig, keys) as seen:
            await trio.sleep(10)
            seen.clear()
            for key in keys:
                await rig.log.put(key, b"1")
            await trio.sleep(5)
            assert {key for each in seen for key in each} == set(keys)


async def test_a_server_that_has_lost_its_memory(
    autojump_clock: MockClock, rig: LogRig, no_sweep: None
) -> None:
    """A group starts above all versions that it had before."""
    with rig.notifier.subscribe(("a",)) as subscription:
        await subscription.wait()
        group = rig.publisher.group_event(group_key(PREFIX, "a"), ttl=60, version=7)
        with trio.fail_after(0.1):
            await group.wait()
        assert group.version > 7


async def test_a_storm_of_wakes(
    autojump_clock: MockClock, rig: LogRig, no_sweep: None
) -> None:
    """Ten thousand wakes without a message are limited by time, not by number."""
    async with following(rig, "a") as seen:
        await wait_all_tasks_blocked()
        for _ in range(1000):
            for _ in range(10):
                await rig.wake("a")
            await trio.sleep(0.01)
        # Fifty a second, the burst, and twice that, since a wake may come twice.
        assert len(seen) < 2 * (10 / 0.02 + 12)
        await trio.sleep(1)
        seen.clear()
        await rig.wake("a")
        await wait_all_tasks_blocked()
        assert len(seen) == 1


async def test_a_lease_that_ends(
    autojump_clock: MockClock, rig: LogRig, no_sweep: None
) -> None:
    """All subscriptions are woken once, and the group is cleared again."""
    async with following(rig, "a") as seen:
        await trio.sleep(3600)
        assert 3600 / 125 - 2 < len(seen) < 2 * 3600 / 115
        seen.clear()
        await rig.wake("a")
        await wait_all_tasks_blocked()
        assert len(seen) == 1


async def test_a_flushed_server(
    autojump_clock: MockClock, rig: LogRig, no_sweep: None
) -> None:
    """The wait begins anew, after a pause."""
    async with following(rig, "a") as seen:
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


async def test_a_lock_on_the_key_of_a_group(
    autojump_clock: MockClock, rig: LogRig
) -> None:
    """There are no wakes then, and no error: the sweep goes on, and it is not hot."""
    key = group_key(PREFIX, "a")
    async with rig.publisher.lock(key, lease=3600):
        async with following(rig, "a") as seen:
            await trio.sleep(60)
            assert len(seen) < 130
            seen.clear()
            await rig.log.put("a", b"1")
            await trio.sleep(5)
            assert seen


async def test_the_store_is_away(
    autojump_clock: MockClock, rig: LogRig, caplog: pytest.LogCaptureFixture
) -> None:
    """The sweep says so once, and goes on when it is back."""
    async with following(rig, "a") as seen:
        await trio.sleep(5)
        rig.log.fault = StoreUnreachable("gone")
        await trio.sleep(20)
        assert not rig.notifier.store_up
        assert caplog.messages == ["message streams cannot be read: gone"]
        rig.log.fault, rig.log.hangs = None, True
        await trio.sleep(20)
        assert not rig.notifier.store_up
        rig.log.hangs = False
        await rig.log.put("a", b"1")
        seen.clear()
        await trio.sleep(10)
        assert rig.notifier.store_up
        assert set(map(tuple, seen)) == {("a",)}


async def test_a_local_notification(
    autojump_clock: MockClock, rig: LogRig, no_sweep: None
) -> None:
    """A publisher wakes the subscriptions of its own process without slock."""
    async with following(rig, "a") as seen:
        await wait_all_tasks_blocked()
        seen.clear()
        await rig.notifier.notify_local("a")
        await wait_all_tasks_blocked()
        assert seen == [["a"]]


async def test_a_notifier_that_does_not_run(autojump_clock: MockClock) -> None:
    """It is a programming error, and raised as one."""
    async with open_log_rig() as rig:
        idle = module.LogNotifier(
            rig.client, rig.log, prefix=PREFIX, max_keys=9, limit=5
        )
        with idle.subscribe(("a",)) as subscription:
            with pytest.raises(RuntimeError, match="does not run"):
                await subscription.wait()


async def test_nothing_waits_when_the_notifier_has_ended(
    autojump_clock: MockClock,
) -> None:
    """Ending withdraws what waits on slock."""
    async with open_log_rig() as rig:
        idle = module.LogNotifier(
            rig.client, rig.log, prefix=PREFIX, max_keys=9, limit=5
        )
        async with trio.open_nursery() as nursery:
            await nursery.start(idle.run)
            with idle.subscribe(("a",)) as subscription:
                await subscription.wait()
                await wait_all_tasks_blocked()
                assert await rig.waiting() == 1
                nursery.cancel_scope.cancel()
        assert await rig.waiting() == 0


async def test_many_new_channels_start_a_few_at_a_time(
    autojump_clock: MockClock, no_sweep: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All at once would block the event loop for seconds."""
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
    async with open_log_rig(max_keys=1000) as rig, following(rig, keys) as seen:
        with trio.fail_after(5):
            while await rig.waiting() < 1000:
                await trio.sleep(0.01)
        assert 1 < most <= 32
        assert {key for news in seen for key in news} == set(keys)
