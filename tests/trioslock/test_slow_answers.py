"""A network that delays answers and then falls silent: never two holders at once.

By the holder's own clock: the body has ended before another client can have the key.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from trioslock import Client, LockLost
from trioslock.testing import Network, open_network


@pytest.fixture
async def network(autojump_clock: MockClock) -> AsyncIterator[Network]:
    async with open_network() as opened:
        yield opened


class Body:
    """The body of an ``async with``, and when it ran."""

    def __init__(self) -> None:
        self.began_at: float | None = None
        self.ended_at: float | None = None
        self.lost: LockLost | None = None

    async def run(self, client: Client, lease: float, renew: bool) -> None:
        try:
            async with client.lock("key", lease=lease, renew=renew):
                self.began_at = trio.current_time()
                try:
                    await trio.sleep_forever()
                finally:
                    self.ended_at = trio.current_time()
        except LockLost as lost:
            self.lost = lost


async def answer_late_and_fall_silent(network: Network, delay: float) -> None:
    """Hold the next answer back, deliver it, and nothing after it."""
    stream = network.streams[0]
    stream.hang(sends=False)
    await trio.sleep(delay)
    stream.thaw()
    await wait_all_tasks_blocked()
    stream.hang()


@pytest.mark.parametrize("queued", [0, 7], ids=["at once", "after a queue"])
@pytest.mark.parametrize("delay", [0.5, 1.5, 5, 9])
@pytest.mark.parametrize(
    ("lease", "renew"), [(6, True), (6, False), (2.5, True), (2.5, False), (1, True)]
)
async def test_the_body_ends_before_another_client_has_the_key(
    autojump_clock: MockClock,
    network: Network,
    lease: float,
    renew: bool,
    delay: float,
    queued: float,
) -> None:
    body = Body()
    async with (
        network.open_client() as client,
        network.open_client() as other,
        trio.open_nursery() as nursery,
    ):
        grant = await other.lock("key").acquire() if queued else None
        if grant is not None:
            nursery.start_soon(body.run, client, lease, renew)
            await trio.sleep(queued)
        nursery.start_soon(answer_late_and_fall_silent, network, delay)
        await wait_all_tasks_blocked()
        if grant is not None:
            await grant.release()
        else:
            nursery.start_soon(body.run, client, lease, renew)
        await wait_all_tasks_blocked()
        with trio.fail_after(60):
            await other.lock("key").acquire()
        taken_at = trio.current_time()
        await trio.sleep(100)
        if body.began_at is not None:
            assert body.ended_at is not None
            assert body.ended_at <= taken_at
            assert body.lost is not None
        nursery.cancel_scope.cancel()


async def test_a_lease_of_a_try_counts_from_its_request(
    autojump_clock: MockClock, network: Network
) -> None:
    """``try_acquire(lease=5)`` answered after 4 s trusts one second."""
    async with network.open_client() as client, trio.open_nursery() as nursery:
        asked_at = trio.current_time()
        nursery.start_soon(answer_late_and_fall_silent, network, 4)
        grant = await client.lock("key", lease=5).try_acquire()
        assert trio.current_time() - asked_at == pytest.approx(4, abs=0.1)
        assert grant.expires_at - asked_at == pytest.approx(5, abs=0.1)
        with pytest.raises(LockLost):
            async with grant:
                await trio.sleep_forever()
        nursery.cancel_scope.cancel()


async def test_a_wait_goes_on_when_the_lease_ended_on_the_way(
    autojump_clock: MockClock, network: Network
) -> None:
    """The grant comes too late to be confirmed: the key is asked for once more."""
    async with network.open_client() as client, network.open_client() as other:
        async with trio.open_nursery() as nursery:
            stream = network.streams[0]
            body = Body()
            async with other.lock("key"):
                nursery.start_soon(body.run, client, 3, True)
                await wait_all_tasks_blocked()
                stream.hang(sends=False)
            await trio.sleep(8)
            assert body.began_at is None
            stream.thaw()
            await trio.sleep(20)
            assert body.began_at is not None
            assert body.ended_at is None
            assert await other.lock("key").locked()
            nursery.cancel_scope.cancel()


async def test_a_lease_in_milliseconds_outlives_a_long_queue(
    autojump_clock: MockClock, network: Network
) -> None:
    """It is not used up by the wait, and never counted on for longer than it lasts."""
    async with network.open_client() as client, network.open_client() as other:
        async with trio.open_nursery() as nursery:
            body = Body()
            async with other.lock("key"):
                nursery.start_soon(body.run, client, 0.8, False)
                await trio.sleep(30)
                released_at = trio.current_time()
            with trio.fail_after(5):
                await other.lock("key").acquire()
            assert body.began_at == pytest.approx(released_at, abs=0.1)
            assert body.ended_at is not None
            assert released_at + 0.2 < body.ended_at <= released_at + 0.81


async def test_a_cancelled_confirmation_leaves_nothing(
    autojump_clock: MockClock, network: Network
) -> None:
    async with network.open_client() as client, network.open_client() as other:
        async with trio.open_nursery() as nursery:
            body = Body()
            async with other.lock("key"):
                nursery.start_soon(body.run, client, 9, True)
                await trio.sleep(5)
                stream = network.streams[0]
            # The grant is on its way; its confirmation will not be answered.
            await wait_all_tasks_blocked()
            stream.hang()
            nursery.cancel_scope.cancel()
        stream.thaw()
        with trio.fail_after(5):
            async with other.lock("key"):
                pass
