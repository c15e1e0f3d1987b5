from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
from tests.trioslock.backends import Backend, open_backend, until
from tests.trioslock.sweep import passes
from trio.testing import MockClock

from trioslock import Client, Data, Flags, ServerError, Subscription
from trioslock.primitives._subscription import _refusal

PUBLISH = Flags(publish=True)


async def refuse(client: Client, key: str, *, flags: Flags = PUBLISH) -> None:
    """Make one message: a request that is refused."""
    async with client.lock(key):
        with pytest.raises(trio.WouldBlock):
            await client.lock(key, flags=flags).try_acquire()


@pytest.fixture
async def subscription(backend: Backend, client: Client) -> AsyncIterator[Subscription]:
    try:
        async with client.subscribe() as opened:
            yield opened
    except ServerError as error:
        pytest.skip(str(error))


async def test_refused_requests_and_ended_leases_are_published(
    backend: Backend, client: Client, subscription: Subscription
) -> None:
    key = backend.key("sub")
    lock = client.lock(key, lease=0.3, renew=False, flags=PUBLISH)
    grant = await lock.acquire(data=Data.set("value"))
    with pytest.raises(trio.WouldBlock):
        await lock.try_acquire()
    with trio.fail_after(5):
        refused = await anext(subscription)
        expired = await anext(subscription)
    assert (refused.kind, refused.key) == ("refused", lock.key)
    assert refused.held == 1
    assert (expired.kind, expired.lock_id) == ("expired", grant.lock_id)
    assert (expired.levels, expired.held) == (1, 0)
    assert expired.serial > refused.serial
    for change in (refused, expired):
        assert change.data is not None
        assert change.data.text == "value"


async def test_what_has_no_publish_flag_is_not_published(
    backend: Backend, client: Client, subscription: Subscription
) -> None:
    await refuse(client, backend.key("quiet"), flags=Flags())
    key = backend.key("sub")
    await refuse(client, key)
    with trio.fail_after(5):
        assert (await anext(subscription)).key == client.lock(key).key


async def test_flags_come_from_database_and_client(
    backend: Backend, client: Client, subscription: Subscription
) -> None:
    key = backend.key("sub")
    loud = client.db(client.number, flags=PUBLISH)
    async with client.lock(key):
        with pytest.raises(trio.WouldBlock):
            await loud.lock(key).try_acquire()
    with trio.fail_after(5):
        assert (await anext(subscription)).key == client.lock(key).key


async def test_other_databases_are_not_reported(
    backend: Backend, client: Client, subscription: Subscription
) -> None:
    key = backend.key("sub")
    elsewhere: Any = client.db((client.number + 1) % 255)
    await refuse(elsewhere, key)
    await refuse(client, key)
    with trio.fail_after(5):
        await anext(subscription)
    assert subscription.statistics().received == 1


async def test_masks_choose_keys(
    backend: Backend, client: Client, subscription: Subscription
) -> None:
    """Both subscriptions hear of their own, each over a connection of its own."""
    mask = bytes(15) + b"\x01"
    async with client.subscribe(mask, bytes(15) + b"\x04") as chosen:
        for last in (b"\x02", b"\x05", b"\x01"):
            async with client.lock(b"\0" * 7 + b"key-test" + last):
                with pytest.raises(trio.WouldBlock):
                    await client.lock(
                        b"\0" * 7 + b"key-test" + last, flags=PUBLISH
                    ).try_acquire()
        with trio.fail_after(5):
            keys = [(await anext(chosen)).key[-1] for _ in range(2)]
    assert keys == [5, 1]


async def test_a_slow_reader_loses_the_oldest_and_they_are_counted(
    backend: Backend, client: Client, subscription: Subscription
) -> None:
    async with client.subscribe(buffer=2) as slow:
        for number in range(5):
            await refuse(client, f"slow {number}")
        with trio.fail_after(5):
            for _ in range(5):
                await anext(subscription)
            while slow.statistics().received < 5:  # noqa: ASYNC110
                await trio.sleep(0.005)
        statistics = slow.statistics()
        assert (statistics.dropped, statistics.buffered) == (3, 2)
        assert "3 dropped" in repr(slow)
        keys = [(await anext(slow)).key for _ in range(2)]
        assert keys == [client.lock(f"slow {number}").key for number in (3, 4)]


async def test_it_ends_for_its_reader_when_it_is_left(
    backend: Backend, client: Client, subscription: Subscription
) -> None:
    async with client.subscribe() as left:
        pass
    assert [change async for change in left] == []
    assert "ended" in repr(left)


async def test_a_cancelled_read_takes_nothing(
    backend: Backend, client: Client, subscription: Subscription
) -> None:
    with trio.move_on_after(0.01) as scope:
        await anext(subscription)
    assert scope.cancelled_caught
    await refuse(client, backend.key("sub"))
    with trio.CancelScope() as scope:
        scope.cancel()
        await anext(subscription)
    with trio.fail_after(5):
        assert (await anext(subscription)).kind == "refused"


async def test_a_server_without_subscribers_says_so() -> None:
    async with open_backend("tcp", subscribe=False) as backend:
        async with backend.open_client() as client:
            with pytest.raises(ServerError, match="--subscribe_enabled") as caught:
                async with client.subscribe():
                    raise AssertionError("the body must not run")
            assert caught.value.result == 11


async def test_a_broken_connection_loses_nothing_that_the_server_keeps(
    autojump_clock: MockClock,
) -> None:
    async with open_backend("memory") as backend:
        memory: Any = backend
        async with backend.open_client() as client:
            async with client.subscribe() as subscription:
                await refuse(client, "one")
                assert (await anext(subscription)).serial
                memory.cut()
                await trio.sleep(0.1)
                memory.restore()
                await client.wait_connected()
                await refuse(client, "two")
                with trio.fail_after(5):
                    assert (await anext(subscription)).key == client.lock("two").key
                await until(lambda: subscription.statistics().resubscribed == 1)


async def test_a_server_that_takes_it_up_no_more_ends_it(
    autojump_clock: MockClock,
) -> None:
    """The reader gets the error after what was buffered."""
    async with open_backend("memory") as backend:
        memory: Any = backend
        async with backend.open_client() as client:
            async with client.subscribe() as subscription:
                await refuse(client, "one")
                await until(lambda: subscription.statistics().received == 1)
                memory.cut()
                await trio.sleep(0.1)
                async with open_backend("memory", subscribe=False) as successor:
                    memory.server = successor.server
                    memory.restore()
                    await trio.sleep(1)
                    assert (await anext(subscription)).kind == "refused"
                    with pytest.raises(ServerError, match="subscribe_enabled"):
                        await anext(subscription)
                    memory.cut()


async def test_nothing_is_left_on_the_server() -> None:
    async with open_backend("tcp") as backend:
        ours: Any = backend
        async with backend.open_client() as client:
            async with client.subscribe(), client.subscribe(b"\x01" * 16):
                assert ours.server.host_engine.engine.statistics().subscriptions == 2
            with trio.fail_after(5):
                while ours.server.statistics().connections > 1:  # noqa: ASYNC110
                    await trio.sleep(0.005)
            assert ours.server.host_engine.engine.statistics().subscriptions == 0


@pytest.mark.parametrize("mask", [b"short", bytes(16), b"x" * 17])
async def test_a_mask_that_matches_nothing_is_refused(
    autojump_clock: MockClock, mask: bytes
) -> None:
    async with open_backend("memory") as backend, backend.open_client() as client:
        with pytest.raises(ValueError, match="a key mask is 16 bytes"):
            client.subscribe(mask)


async def test_a_buffer_that_keeps_nothing_is_refused(
    autojump_clock: MockClock,
) -> None:
    async with open_backend("memory") as backend, backend.open_client() as client:
        with pytest.raises(ValueError, match="buffer must be at least 1"):
            client.subscribe(buffer=0)
        with pytest.raises(ValueError, match="server_buffer must be"):
            client.subscribe(server_buffer=0)


def test_any_other_refusal_carries_its_code() -> None:
    assert "result 4" in str(_refusal(4))


async def test_a_connection_that_breaks_while_it_subscribes_again_is_no_end(
    autojump_clock: MockClock,
) -> None:
    """The next connection tries again, wherever the one before was cut."""
    async with open_backend("memory") as backend:
        memory: Any = backend
        async with backend.open_client() as client:
            async with client.subscribe() as subscription, trio.open_nursery() as soon:
                session: Any = subscription._session
                resubscribe = session.on_connected
                cuts = iter(range(12))

                async def cut_after(count: int) -> None:
                    await passes(count)
                    memory.cut_latest()

                def connected() -> None:
                    resubscribe()
                    if (count := next(cuts, None)) is not None:
                        soon.start_soon(cut_after, count)

                session.on_connected = connected
                memory.cut_latest()
                await trio.sleep(60)
                assert next(cuts, None) is None
                assert 1 <= subscription.statistics().resubscribed <= 12
                await refuse(client, "one")
                assert (await anext(subscription)).kind == "refused"
