from __future__ import annotations

import pytest
import trio
from tests.trioslock.backends import NOTHING, Backend, MemoryBackend
from trio.testing import MockClock

from trioslock import FOREVER, SESSION, Client, LockLost, NoLeader, NotHeld
from trioslock.primitives._renewal import LeaseRenewer, equal_within
from trioslock.protocol import ExpiryFlag

pytestmark = pytest.mark.usefixtures("scopes")


@pytest.mark.parametrize("lease", [1, 2, 2.5, 3, 10, 100])
async def test_a_lease_is_renewed_as_long_as_the_body_runs(
    autojump_clock: MockClock, memory: MemoryBackend, lease: float
) -> None:
    async with memory.open_client() as client, memory.open_client() as other:
        async with client.lock("lock", lease=lease) as grant:
            for _ in range(40):
                await trio.sleep(lease / 4)
                assert grant.held
                assert trio.current_time() < grant.expires_at
                with pytest.raises(trio.WouldBlock):
                    await other.lock("lock").try_acquire()
        assert await memory.claims("lock") == NOTHING
        await trio.sleep(10 * lease)
        assert await memory.claims("lock") == NOTHING


async def test_a_lease_is_not_renewed_if_the_caller_says_so(
    autojump_clock: MockClock, memory: MemoryBackend
) -> None:
    """With ``renew=False`` the body ends with the lease."""
    async with memory.open_client() as client:
        started_at = trio.current_time()
        with pytest.raises(LockLost, match="lease has ended"):
            async with client.lock("lock", lease=3, renew=False):
                await trio.sleep_forever()
        assert 2.9 < trio.current_time() - started_at < 4.1
        assert await memory.claims("lock") == NOTHING


async def test_the_body_is_cancelled_before_the_lease_can_have_ended(
    autojump_clock: MockClock, memory: MemoryBackend
) -> None:
    """The server still has the body as the holder when the body is cancelled."""
    engine = memory.server.host_engine.engine
    held_at_the_end = []
    async with memory.open_client() as client:
        grant = await client.lock("lock", lease=6).acquire()
        with pytest.raises(LockLost, match="lease has ended"):
            async with grant:
                await trio.sleep(20)
                memory.cut()
                try:
                    await trio.sleep_forever()
                finally:
                    view = engine.inspect(0, grant.key)
                    held_at_the_end.append(view is not None and len(view.holders))
    assert held_at_the_end == [1]


async def test_leaving_late_does_not_wait_for_a_dead_connection(
    autojump_clock: MockClock, memory: MemoryBackend
) -> None:
    async with memory.open_client(session_ttl=100) as client:
        left_at = 0.0
        with pytest.raises(LockLost):
            async with client.lock("lock", lease=3) as grant:
                memory.cut()
                try:
                    await trio.sleep_forever()
                finally:
                    left_at = trio.current_time()
        assert trio.current_time() - left_at <= 2.1
        assert not grant.held


async def test_renewing_goes_on_after_a_short_cut(
    autojump_clock: MockClock, memory: MemoryBackend
) -> None:
    async with memory.open_client() as client:
        async with client.lock("lock", lease=30) as grant:
            memory.cut()
            await trio.sleep(12)
            memory.restore()
            await trio.sleep(100)
            assert grant.held
            assert await memory.claims("lock") == (1, 0)
        assert await memory.claims("lock") == NOTHING


async def test_an_extended_lease_is_the_one_that_is_renewed(
    autojump_clock: MockClock, memory: MemoryBackend
) -> None:
    async with memory.open_client() as client:
        async with client.lock("lock", lease=3) as grant:
            await grant.extend(100)
            assert grant.expires_at > trio.current_time() + 98
            await trio.sleep(90)
            assert grant.expires_at > trio.current_time() + 50
            await grant.extend(2)
            await trio.sleep(20)
            assert grant.held
            assert grant.expires_at < trio.current_time() + 10
            await grant.extend(FOREVER)
            await trio.sleep(1000)
            assert grant.held
        assert await memory.claims("lock") == NOTHING


async def test_a_lease_that_ended_all_the_same_is_a_loss(
    autojump_clock: MockClock, memory: MemoryBackend
) -> None:
    """Another client released the key: the next renewal finds out."""
    async with memory.open_client() as client, memory.open_client() as other:
        with pytest.raises(LockLost):
            async with client.lock("lock", lease=9):
                await other.lock("lock").release_head()
                await trio.sleep(8)
        await memory.until("lock", 0, 0)


async def test_a_key_that_another_client_took_is_a_loss(
    autojump_clock: MockClock, memory: MemoryBackend
) -> None:
    async with memory.open_client() as client, memory.open_client() as other:
        with pytest.raises(LockLost, match="another holder"):
            async with client.lock("lock", lease=9):
                await other.lock("lock").release_head()
                await other.lock("lock").acquire()
                await trio.sleep(8)
        assert await memory.claims("lock") == (1, 0)


async def test_a_release_in_the_body_ends_the_renewing(
    autojump_clock: MockClock, memory: MemoryBackend
) -> None:
    async with memory.open_client() as client:
        async with client.lock("lock", lease=3) as grant:
            await grant.release()
            await trio.sleep(20)
            assert await memory.claims("lock") == NOTHING


async def test_a_lease_that_was_made_one_of_the_session_follows_the_connection(
    autojump_clock: MockClock, memory: MemoryBackend
) -> None:
    """Also the next connection."""
    async with memory.open_client() as client:
        grant = await client.lock("lock", lease=5).acquire()
        await trio.sleep(3)
        await grant.extend(SESSION)
        await trio.sleep(25)
        # Not long before the server's next look, which would end it.
        memory.cut()
        await trio.sleep(1)
        memory.restore()
        await trio.sleep(60)
        assert grant.held
        assert await memory.claims("lock") == (1, 0)
        await grant.release()


async def test_without_a_body_nothing_is_renewed(
    autojump_clock: MockClock, memory: MemoryBackend
) -> None:
    async with memory.open_client() as client:
        grant = await client.lock("lock", lease=3).acquire()
        with trio.fail_after(5):
            assert (await grant.wait_lost()).reason == "expired"


@pytest.mark.slow
@pytest.mark.parametrize(
    "backend_choice",
    ["tcp", pytest.param("live", marks=pytest.mark.live)],
    indirect=True,
)
async def test_a_lease_of_a_second_is_renewed_in_real_time(
    backend: Backend, client: Client, other: Client
) -> None:
    """The server drops updates that change little; the shortest lease shows it."""
    key = backend.key("renewed")
    async with client.lock(key, lease=1) as grant:
        for _ in range(7):
            await trio.sleep(0.5)
            assert grant.held
            with pytest.raises(trio.WouldBlock):
                await other.lock(key).try_acquire()
    assert await backend.claims(key) == NOTHING


async def test_a_renewal_that_fails_for_now_is_tried_again(
    autojump_clock: MockClock,
) -> None:
    """After a third of the lease, as if it had been done; a lost grant ends it."""
    no_leader, gone = NoLeader("no leader"), NotHeld("gone", key=b"")
    answers = [no_leader, None, no_leader, gone]
    asked: list[tuple[float, float]] = []

    async def renew(lease: float) -> None:
        asked.append((trio.current_time(), lease))
        await trio.lowlevel.checkpoint()
        answer = answers.pop(0)
        if answer is not None:
            raise answer

    await LeaseRenewer(renew, trio.current_time(), 9).run()
    assert asked == [(3, 11), (6, 11), (9, 11), (12, 11)]


def test_the_server_may_leave_a_lease_in_minutes_short_by_one() -> None:
    assert equal_within(0) == 1
    assert equal_within(ExpiryFlag.MINUTES | ExpiryFlag.PUBLISH) == 60
