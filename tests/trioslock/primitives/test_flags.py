from __future__ import annotations

from typing import Any

import pytest
import trio
from tests.trioslock.backends import NOTHING, Backend

from trioslock import Client, Flags
from trioslock.protocol import ExpiryFlag, TimeoutFlag


@pytest.mark.parametrize(
    ("flags", "wait_bits", "lease_bits"),
    [
        (Flags(), 0, 0),
        (Flags(require_ack=True), TimeoutFlag.REQUIRE_ACKED, 0),
        (Flags(publish=True), TimeoutFlag.PUBLISH, ExpiryFlag.PUBLISH),
        (Flags(log="at-once"), 0, ExpiryFlag.LOG_AT_ONCE),
        (Flags(log="never"), 0, ExpiryFlag.NEVER_LOG),
        (Flags(lease_from_request=True), TimeoutFlag.UNRENEW, 0),
    ],
)
def test_each_flag_is_one_bit(flags: Flags, wait_bits: int, lease_bits: int) -> None:
    assert (flags.wait_bits, flags.lease_bits) == (wait_bits, lease_bits)


def test_flags_that_contradict_are_refused() -> None:
    wrong: Any = "sometimes"
    with pytest.raises(ValueError, match="log must be"):
        Flags(log=wrong)
    with pytest.raises(ValueError, match="never logged cannot be acknowledged"):
        Flags(require_ack=True, log="never")


async def test_an_acknowledged_lock_is_granted_and_released(
    backend: Backend, client: Client, other: Client
) -> None:
    """On one node the node's own log is all that has to acknowledge."""
    key = backend.key("acked")
    lock = client.lock(key, flags=Flags(require_ack=True))
    with trio.fail_after(5):
        async with lock as grant:
            assert grant.held
            with pytest.raises(trio.WouldBlock):
                await other.lock(key).try_acquire()
    assert await backend.claims(key) == NOTHING


async def test_acknowledged_waits_are_withdrawn_too(
    backend: Backend, client: Client, other: Client
) -> None:
    key = backend.key("acked")
    async with other.lock(key):
        with trio.move_on_after(0.02) as scope:
            await client.lock(key, flags=Flags(require_ack=True)).acquire()
        assert scope.cancelled_caught
        await backend.until(key, 1, 0)
    await backend.until(key, *NOTHING)
