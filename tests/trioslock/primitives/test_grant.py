from __future__ import annotations

import math
from typing import Any

import pytest
import trio
import trio.testing
from tests.trioslock.backends import NOTHING, Backend, MemoryBackend
from tests.trioslock.primitives.answering import answered
from trio.testing import MockClock, assert_checkpoints

from trioslock import (
    SESSION,
    Client,
    ConnectionLost,
    Data,
    Flags,
    Grant,
    Lock,
    LockLost,
    NotHeld,
    ServerError,
)
from trioslock.primitives._grant import release_unusable
from trioslock.protocol import ExpiryFlag, ResultCode


async def test_a_grant_has_its_own_lock_id_and_says_what_it_is(
    backend: Backend, client: Client
) -> None:
    lock = client.lock(backend.key("lock"))
    first = await lock.acquire()
    assert first.held
    assert first.key == lock.key
    assert first.expires_at == math.inf
    assert "held" in repr(first)
    await first.release()
    assert "released" in repr(first)
    second = await lock.acquire()
    assert second.lock_id != first.lock_id
    await second.release()
    assert "lease SESSION" in repr(lock)


async def test_a_grant_brings_the_value_that_the_key_had(
    backend: Backend, client: Client, other: Client
) -> None:
    key = backend.key("lock")
    grant = await client.lock(key).acquire(data=Data.set("first"))
    assert grant.data is None
    before = await grant.update(Data.set("second"))
    assert before is not None
    assert before.text == "first"

    async def wait() -> None:
        async with other.lock(key) as theirs:
            assert theirs.data is not None
            assert theirs.data.text == "second!"

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await backend.until(key, 1, 1)
        await grant.release(Data.append("!"))


async def test_release_twice_is_once(backend: Backend, client: Client) -> None:
    """A second release does not free the next holder's grant."""
    lock = client.lock(backend.key("lock"))
    first = await lock.acquire()
    await first.release()
    second = await lock.acquire()
    with assert_checkpoints():
        await first.release()
    assert await lock.locked()
    await second.release()


async def test_a_body_may_release_early(backend: Backend, client: Client) -> None:
    lock = client.lock(backend.key("lock"))
    async with lock as grant:
        await grant.release()
        assert not await lock.locked()


async def test_extend_changes_the_lease(backend: Backend, client: Client) -> None:
    lock = client.lock(backend.key("lock"), lease=30)
    async with lock as grant:
        assert 20 < grant.expires_at - trio.current_time() <= 30
        await grant.extend(300)
        assert 290 < grant.expires_at - trio.current_time() <= 300
        await grant.extend(SESSION)
        assert grant.expires_at == math.inf


async def test_a_stolen_grant_cannot_be_extended_or_released(
    backend: Backend, client: Client, other: Client
) -> None:
    key = backend.key("lock")
    grant = await client.lock(key).acquire()
    await other.lock(key).release_head()
    thief = await other.lock(key).acquire()
    with pytest.raises(LockLost) as caught:
        await grant.extend(SESSION)
    assert caught.value.reason == "taken"
    assert not grant.held
    with pytest.raises(LockLost):
        await grant.update(Data.set("x"))
    await grant.release()
    assert await backend.claims(key) == (1, 0)
    await thief.release()


async def test_an_extension_that_takes_the_key_again_is_a_loss(
    backend: Backend, client: Client, other: Client
) -> None:
    """Another client may have had it in between; and nothing stays held."""
    key = backend.key("lock")
    grant = await client.lock(key).acquire()
    await other.lock(key).release_head()
    with pytest.raises(LockLost):
        await grant.extend(SESSION)
    assert await backend.claims(key) == NOTHING


async def test_a_released_grant_cannot_be_extended(
    backend: Backend, client: Client
) -> None:
    grant = await client.lock(backend.key("lock")).acquire()
    await grant.release()
    with pytest.raises(NotHeld):
        await grant.extend(SESSION)


async def test_releasing_what_the_server_took_away_says_so(
    backend: Backend, client: Client, other: Client
) -> None:
    key = backend.key("lock")
    grant = await client.lock(key).acquire()
    await other.lock(key).release_head()
    with pytest.raises(NotHeld):
        await grant.release()


@pytest.mark.slow
async def test_the_end_of_a_lease_cancels_the_body(
    backend: Backend, client: Client
) -> None:
    key = backend.key("lock")
    with pytest.raises(LockLost) as caught:
        async with client.lock(key, lease=0.3, renew=False):
            await trio.sleep(5)
    assert caught.value.reason == "expired"
    await backend.until(key, 0, 0)


@pytest.mark.slow
async def test_a_loss_ends_a_wait_for_it(backend: Backend, client: Client) -> None:
    """Without a body, by the server's notice."""
    grant = await client.lock(backend.key("lock"), lease=0.2, renew=False).acquire()
    with trio.fail_after(5):
        loss = await grant.wait_lost()
    assert loss.reason == "expired"
    assert "lost (expired)" in repr(grant)
    with trio.fail_after(1):
        await grant.wait_lost()
    with pytest.raises(LockLost):
        async with grant:
            await trio.sleep(5)


@pytest.mark.slow
async def test_a_body_keeps_its_own_error_when_the_grant_is_lost(
    backend: Backend, client: Client
) -> None:
    with pytest.raises(ValueError, match="mine") as caught:
        async with client.lock(backend.key("lock"), lease=0.2, renew=False):
            try:
                await trio.sleep_forever()
            finally:
                raise ValueError("mine")
    assert "its lease has ended" in caught.value.__notes__[0]


@pytest.mark.slow
async def test_a_group_of_errors_loses_only_the_cancellations_of_the_loss(
    backend: Backend, client: Client
) -> None:
    async def fail_late() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("mine")

    with pytest.RaisesGroup(pytest.RaisesExc(ValueError, match="mine")) as caught:
        async with client.lock(backend.key("lock"), lease=0.2, renew=False):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(fail_late)
                nursery.start_soon(trio.sleep_forever)
    assert "its lease has ended" in caught.value.__notes__[0]


async def test_the_bodys_error_releases_and_leaves_as_it_is(
    backend: Backend, client: Client
) -> None:
    key = backend.key("lock")
    with pytest.raises(ValueError, match="mine") as caught:
        async with client.lock(key):
            raise ValueError("mine")
    assert not hasattr(caught.value, "__notes__")
    assert await backend.claims(key) == NOTHING


async def test_a_cancelled_body_releases_before_it_leaves(
    backend: Backend, client: Client
) -> None:
    key = backend.key("lock")
    with trio.CancelScope() as scope:
        async with client.lock(key):
            scope.cancel()
            await trio.lowlevel.checkpoint()
    assert scope.cancelled_caught
    assert await backend.claims(key) == NOTHING


async def test_a_grant_is_entered_once(backend: Backend, client: Client) -> None:
    grant = await client.lock(backend.key("lock")).acquire()
    async with grant:
        with pytest.raises(RuntimeError, match="entered already"):
            async with grant:
                pass


async def test_flags_are_kept_by_an_update(backend: Backend, client: Client) -> None:
    async with client.lock(
        backend.key("kept"), lease=60, flags=Flags(publish=True)
    ) as grant:
        await grant.extend(30)
        assert grant._command.expiry_flag & ExpiryFlag.PUBLISH


async def test_a_lease_of_the_session_can_be_made_one_of_seconds(
    backend: Backend, client: Client
) -> None:
    """It is not renewed: the handle's lease is none that would be."""
    async with client.lock(backend.key("lock")) as grant:
        await grant.extend(300)
        assert 290 < grant.expires_at - trio.current_time() <= 300


async def test_a_release_ends_the_renewal(backend: Backend, client: Client) -> None:
    async with client.lock(backend.key("lock"), lease=30) as grant:
        await grant.release()
        assert grant._renewer is not None
        assert grant._renewer._scope.cancel_called


def grant_of(*answers: int | Exception) -> tuple[Grant, Any]:
    """A grant, and the requester that gives these answers to what it asks."""
    options = answered(*answers)
    requester: Any = options.requester
    prepared = Lock(options)._prepare(1, 0)
    return Grant(requester, prepared, requester.new_id()), requester


async def test_an_update_that_crosses_a_release_is_not_released_again() -> None:
    """The answer says "taken again", but the UNLOCK went behind the update."""
    grant, requester = grant_of(0)

    def release() -> None:
        grant._released = True

    requester.before_answer = release
    with pytest.raises(LockLost):
        await grant.extend(5)
    assert len(requester.sent) == 1


async def test_an_update_that_crosses_the_notice_of_a_loss_keeps_its_reason() -> None:
    grant, requester = grant_of(ResultCode.TIMEOUT)
    requester.before_answer = lambda: grant.lost("server-restart")
    with pytest.raises(LockLost, match="the server has restarted"):
        await grant.extend(5)
    assert requester.forgotten == [grant.lock_id]


async def test_an_update_that_the_server_refuses_is_an_error_and_no_loss() -> None:
    grant, _ = grant_of(3)
    with pytest.raises(ServerError):
        await grant.update(Data.set("x"))
    assert grant.held


async def test_a_loss_that_was_before_is_returned_at_once() -> None:
    grant, _ = grant_of(0)
    grant.lost("taken")
    for _ in range(2):
        assert (await grant.wait_lost()).reason == "taken"


@pytest.mark.parametrize(
    ("answer", "error", "text"),
    [
        (ResultCode.UNOWN_ERROR, LockLost, "its lease has ended"),
        (ConnectionLost("broken"), LockLost, "the connection was lost"),
        (3, ServerError, "result 3"),
        (trio.ClosedResourceError("closed"), trio.ClosedResourceError, "closed"),
    ],
)
async def test_a_release_that_fails_at_the_end_of_a_body_is_raised(
    answer: int | Exception, error: type[Exception], text: str
) -> None:
    """Or is a note of the body's own error."""
    grant, _ = grant_of(answer)
    with pytest.raises(error, match=text):
        async with grant:
            pass
    assert not grant.held
    grant, _ = grant_of(answer)
    with pytest.raises(ZeroDivisionError) as caught:
        async with grant:
            raise ZeroDivisionError
    assert text in caught.value.__notes__[0]


async def test_a_body_whose_deadline_has_passed_waits_no_longer_than_the_grace(
    autojump_clock: MockClock, memory: MemoryBackend
) -> None:
    """By this side's clock the lease is over, so nothing depends on the answer."""
    async with memory.open_client() as client:
        with pytest.raises(LockLost, match="lease has ended"):
            async with client.lock("lock", lease=5, renew=False):
                memory.cut()
                await trio.sleep_forever()
        # The lease and the client's grace.
        assert 5 <= trio.current_time() <= 5 + 2.1
        memory.restore()


async def test_a_grant_that_cannot_be_used_is_released_without_an_error() -> None:
    for answer in (0, 3, trio.ClosedResourceError("closed")):
        grant, requester = grant_of(answer)
        await release_unusable(grant)
        assert not grant.held
        assert len(requester.sent) == 1


async def test_a_detached_grant_outlives_its_client(
    backend: Backend, other: Client
) -> None:
    """The client neither counts nor releases it; `release` still works."""
    key = backend.key("lock")
    async with backend.open_client() as client:
        grant = await client.lock(key, lease=60, renew=False).try_acquire()
        grant.detach()
        assert grant.held
        assert client.statistics().held == 0
        await grant.release()
        (await client.lock(key, lease=60).acquire()).detach()
    with pytest.raises(trio.WouldBlock):
        await other.lock(key).try_acquire()
    await other.lock(key).release_head()


async def test_the_lease_of_a_detached_grant_ends(
    memory: MemoryBackend, autojump_clock: MockClock
) -> None:
    async with memory.open_client() as client:
        (await client.lock("k", lease=10).acquire()).detach()
        await trio.sleep(12)
        assert await memory.claims("k") == NOTHING


async def test_only_a_lease_of_seconds_is_detached(
    backend: Backend, client: Client
) -> None:
    """And none whose body runs, which its client would go on to renew."""
    key = backend.key("lock")
    async with client.lock(key) as grant:
        with pytest.raises(RuntimeError, match="cannot be detached"):
            grant.detach()
    grant = await client.lock(key).acquire()
    with pytest.raises(RuntimeError, match="cannot be detached"):
        grant.detach()
    await grant.release()
    async with client.lock(key, lease=60) as grant:
        with pytest.raises(RuntimeError, match="cannot be detached"):
            grant.detach()
    assert await backend.claims(key) == NOTHING


async def test_a_late_loss_is_reported_to_other_tasks(
    backend: Backend, client: Client, other: Client
) -> None:
    """A loss that only the end of the body finds, since nobody has reported it."""
    key = backend.key("lock")
    lost: list[str] = []

    async def wait(grant: Grant) -> None:
        lost.append((await grant.wait_lost()).reason)

    async with trio.open_nursery() as nursery:
        with pytest.raises(LockLost):
            async with client.lock(key) as grant:
                nursery.start_soon(wait, grant)
                await trio.testing.wait_all_tasks_blocked()
                await other.lock(key).release_head()
    assert lost == ["expired"]
