from __future__ import annotations

from typing import Any

import pytest
import trio
from tests.trioslock.backends import NOTHING, Backend, open_backend
from trio.testing import MockClock

from trioslock import Client, Flags, Lock, LockLost, ServerError
from trioslock.primitives import refusal
from trioslock.protocol import ExpiryFlag, LockResult, TimeoutFlag


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
def test_each_wish_is_one_bit(flags: Flags, wait_bits: int, lease_bits: int) -> None:
    assert (flags.wait_bits, flags.lease_bits) == (wait_bits, lease_bits)


def test_wishes_that_contradict_are_refused() -> None:
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


async def test_a_lease_can_count_from_the_request(
    autojump_clock: MockClock,
) -> None:
    """What was waited for so long is over soon after its grant; the body knows."""
    flags = Flags(lease_from_request=True)
    async with open_backend("memory") as backend, backend.open_client() as client:
        blocker = await client.lock("lock").acquire()
        asked_at = trio.current_time()
        ends = []

        async def wait(lock: Lock) -> None:
            with pytest.raises(LockLost):
                async with lock:
                    await trio.sleep_forever()
            ends.append(trio.current_time() - asked_at)

        async with trio.open_nursery() as nursery:
            lock = client.lock("lock", lease=10, renew=False, flags=flags)
            nursery.start_soon(wait, lock)
            await trio.sleep(8)
            await blocker.release()
        assert 9.9 < ends[0] <= 11.1


async def test_flags_are_kept_by_an_update(backend: Backend, client: Client) -> None:
    async with client.lock(
        backend.key("kept"), lease=60, flags=Flags(publish=True)
    ) as grant:
        await grant.extend(30)
        assert grant._command.expiry_flag & ExpiryFlag.PUBLISH


async def test_a_handles_own_flags_take_the_place_of_the_databases(
    client: Client,
) -> None:
    database = client.db(3, flags=Flags(publish=True))
    assert database.lock("lock").flags == Flags(publish=True)
    assert database.lock("lock", flags=Flags()).flags == Flags()
    assert database.db(4).flags == Flags(publish=True)


def test_an_acknowledgement_that_is_pending_is_told_by_its_code() -> None:
    answer = LockResult(1, b"", 12, 0, 0, b"", b"", 0, 0, 0, 0, None)
    error = refusal(answer)
    assert isinstance(error, ServerError)
    assert error.result == 12
