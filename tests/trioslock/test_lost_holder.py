"""How long a lock outlives a killed holder whose connection a forwarder keeps open.

``bench/lost_holder.py`` has the processes; it measures the same with default limits.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import pytest
import trio
from bench.lost_holder import (
    DEFAULT,
    Address,
    forwarding,
    holding,
    seconds_until_free,
    serving,
    url_of,
)
from tests.trioslock.backends import until

from trioslock import open_client

pytestmark = pytest.mark.slow

# Seconds that a loaded machine may add.
MARGIN = 6
SESSION_TTL, LEASE, SILENT = 1, 5, 2
TIMES: dict[str, Any] = {"session_ttl": SESSION_TTL, "heartbeat": 0.5}


@pytest.fixture(params=["embedded", pytest.param("live", marks=pytest.mark.live)])
async def server(request: pytest.FixtureRequest) -> AsyncGenerator[Address]:
    """A server of default limits, which cuts no client during a test."""
    if request.param == "live":
        yield request.getfixturevalue("slock_address")
        return
    async with serving() as address:
        yield address


async def test_the_embedded_server_cuts_it() -> None:
    """Its heartbeat has stopped: after ``silent_seconds`` its session lease ends."""
    async with (
        serving(silent_seconds=SILENT) as server,
        forwarding(server) as forwarder,
        holding(forwarder.address, DEFAULT, **TIMES) as holder,
        open_client(url_of(server)) as client,
    ):
        # Its requests are answered, so what it sends next is a PING.
        (key,), requests = holder.keys, forwarder.sent
        await until(lambda: forwarder.sent > requests)
        holder.kill()
        with trio.fail_after(SILENT + SESSION_TTL + 2 + MARGIN):
            await seconds_until_free(client, key)
        # By the server: the forwarder does not close it.
        await until(lambda: forwarder.open == 0)


async def test_a_lease_of_seconds_ends_with_the_connection_open(
    server: Address,
) -> None:
    """And the default lease lasts until the forwarder closes the connection."""
    async with (
        forwarding(server) as forwarder,
        holding(forwarder.address, DEFAULT, str(LEASE), **TIMES) as holder,
        open_client(url_of(server)) as client,
    ):
        default, seconds = holder.keys
        holder.kill()
        with trio.fail_after(LEASE + 3 + MARGIN):
            await seconds_until_free(client, seconds)
        # That took longer than a session lease does after the end of a connection: two
        # thirds of the lease at least, as it was renewed each time a third had passed.
        assert forwarder.open == 1
        with pytest.raises(trio.WouldBlock):
            await client.lock(default).try_acquire()
        forwarder.close()
        with trio.fail_after(SESSION_TTL + 2 + MARGIN):
            await seconds_until_free(client, default)
