"""Tests of asyncio code, with pytest-asyncio."""

import asyncio

import pytest

from trioslock import LockLost, aio
from trioslock.testing import SlockServer


async def write_report(client: aio.Client) -> None:
    """The code under test."""
    async with client.lock("report"):
        await asyncio.sleep(60)


@pytest.mark.asyncio
async def test_a_lost_lock_ends_the_report(
    slock_server: SlockServer, slock_aio_client: aio.Client
) -> None:
    report = asyncio.create_task(write_report(slock_aio_client))
    await asyncio.to_thread(slock_server.wait_claims, "report", holders=1)
    slock_server.lose("report")
    with pytest.raises(LockLost):
        await report


@pytest.mark.asyncio
async def test_it_waits_for_its_turn(
    slock_server: SlockServer, slock_aio_client: aio.Client
) -> None:
    async with slock_aio_client.lock("report"):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05), slock_aio_client.lock("report"):
                pytest.fail("two have it")
    assert slock_server.claims("report") == (0, 0)
