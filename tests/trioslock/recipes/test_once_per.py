from __future__ import annotations

import time

import pytest
import trio
from tests.trioslock.backends import Backend, MemoryBackend
from tests.trioslock.recipes.sides import open_two_sides
from trio.testing import MockClock

from trioslock import Client, LocalProtocolError, NotHeld
from trioslock.recipes import OncePer, once_per


async def test_one_of_all_runs_a_slot(
    backend: Backend, client: Client, other: Client
) -> None:
    """And the next slot is another one."""
    key = backend.key("job")
    ran = []

    async def run(who: Client, slot: str) -> None:
        if await once_per(who, key, slot, keep=2):
            ran.append(slot)

    async with trio.open_nursery() as nursery:
        for slot in ("10:00", "11:00"):
            for who in (client, other, client, other):
                nursery.start_soon(run, who, slot)
    assert sorted(ran) == ["10:00", "11:00"]


async def test_a_slot_outlives_the_client_that_has_it(backend: Backend) -> None:
    """Neither its end nor the end of its connection gives the slot back."""
    key = backend.key("job")
    async with backend.open_client() as client:
        assert await once_per(client, key, "a", keep=60)
    async with backend.open_client() as client:
        assert client.statistics().held == 0
        assert not await once_per(client, key, "a", keep=60)


async def test_a_slot_of_a_period_is_that_of_the_clock(
    backend: Backend, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clocks that differ by less than the kept time fire no slot twice."""
    key = backend.key("job")
    now = 1_800_000_000.0

    async def at(seconds: float) -> bool:
        monkeypatch.setattr(time, "time", lambda: now + seconds)
        return await once_per(client, key, 3600)

    assert await at(0)
    assert not await at(3599)
    # Another process, whose clock is five minutes behind, at the next full hour.
    assert await at(3600)
    assert not await at(3300)
    assert not await at(3600)


async def test_it_is_free_again_after_the_kept_time(
    memory: MemoryBackend, autojump_clock: MockClock
) -> None:
    async with memory.open_client() as client:
        assert await once_per(client, "k", "a", keep=10)
        await trio.sleep(9)
        assert not await once_per(client, "k", "a", keep=10)
        await trio.sleep(3)
        assert await once_per(client, "k", "a", keep=10)


async def test_a_slot_can_be_given_back(
    backend: Backend, client: Client, other: Client
) -> None:
    """By the handle that has taken it, and once."""
    key = backend.key("job")
    mine = OncePer(client, key, "a", keep=60)
    theirs = OncePer(other, key, "a", keep=60)
    assert await mine.claim()
    await theirs.give_back()
    assert not await theirs.claim()
    await mine.give_back()
    assert await theirs.claim()
    await mine.give_back()
    assert not await mine.claim()
    await theirs.give_back()
    assert "'a'" in repr(mine)


async def test_what_has_ended_cannot_be_given_back(
    memory: MemoryBackend, autojump_clock: MockClock
) -> None:
    async with memory.open_client() as client:
        job = OncePer(client, "k", "a", keep=10)
        assert await job.claim()
        await trio.sleep(12)
        with pytest.raises(NotHeld):
            await job.give_back()


async def test_a_claim_over_a_lost_connection_is_answered(
    autojump_clock: MockClock,
) -> None:
    """Cut off before the answer: it asks again, and no slot is lost."""
    async with open_two_sides() as (network, client, other):
        network.cut_next(receives=1)
        network.cut()
        assert await once_per(client, "k", "a")
        assert not await once_per(other, "k", "a")
        network.down()
        async with trio.open_nursery() as nursery:
            claims = []

            async def claim() -> None:
                claims.append(await once_per(client, "k", "b"))

            nursery.start_soon(claim)
            assert await once_per(other, "k", "b")
            network.up()
        assert claims == [False]


async def test_what_cannot_be_kept_is_refused(backend: Backend, client: Client) -> None:
    with pytest.raises(ValueError, match=r"at least the period of 60 seconds"):
        OncePer(client, "k", 60, keep=59)
    with pytest.raises(ValueError, match="must not be empty"):
        OncePer(client, "k", "")
    with pytest.raises(LocalProtocolError):
        OncePer(client, "k", "a", keep=10**7)
    # The longest period has no room for a second one.
    assert "lease 3932100" in repr(OncePer(client, "k", 3_600_000)._lock)
