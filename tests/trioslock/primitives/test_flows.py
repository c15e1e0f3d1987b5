from __future__ import annotations

import pytest
import trio
from tests.trioslock.backends import NOTHING, Backend, open_backend
from tests.trioslock.primitives.answering import answered

from trioslock import Client, ServerError
from trioslock.primitives import TokenBucket


async def test_no_more_than_the_limit_are_at_it(
    backend: Backend, client: Client, other: Client
) -> None:
    key = backend.key("flow")
    running = peak = 0

    async def work(who: Client) -> None:
        nonlocal running, peak
        async with who.concurrency(key, 3):
            running += 1
            peak = max(peak, running)
            await trio.sleep(0.005)
            running -= 1

    async with trio.open_nursery() as nursery:
        for _ in range(6):
            nursery.start_soon(work, client)
            nursery.start_soon(work, other)
    assert peak == 3
    assert await backend.claims(key) == NOTHING


async def test_in_use_counts_all_clients(
    backend: Backend, client: Client, other: Client
) -> None:
    key = backend.key("flow")
    async with client.concurrency(key, 4), other.concurrency(key, 4):
        assert await client.concurrency(key, 4).in_use() == 2
    assert await client.concurrency(key, 4).in_use() == 0


async def test_the_highest_priority_goes_first(
    backend: Backend, client: Client, other: Client
) -> None:
    key = backend.key("flow")
    order = []

    async def work(priority: int) -> None:
        async with other.concurrency(key, 1, priority=priority):
            order.append(priority)

    async with trio.open_nursery() as nursery:
        async with client.concurrency(key, 1, priority=0):
            for waiting, priority in enumerate((1, 9, 5)):
                nursery.start_soon(work, priority)
                await backend.until(key, 1, waiting + 1)
    assert order == [9, 5, 1]


async def test_a_spent_token_comes_back_after_its_period(
    backend: Backend, client: Client
) -> None:
    key = backend.key("bucket")
    bucket = client.token_bucket(key, 2, 0.1)
    started_at = trio.current_time()
    await bucket.acquire()
    await bucket.acquire()
    with pytest.raises(trio.WouldBlock):
        await bucket.try_acquire()
    assert await bucket.in_use() == 2
    await bucket.acquire()
    assert 0.09 < trio.current_time() - started_at < 2


async def test_tokens_are_shared_by_all_clients(
    backend: Backend, client: Client, other: Client
) -> None:
    key = backend.key("bucket")
    await client.token_bucket(key, 1, 30).acquire()
    with pytest.raises(trio.WouldBlock):
        await other.token_bucket(key, 1, 30).try_acquire()


async def test_a_cancelled_wait_spends_no_token(
    backend: Backend, client: Client
) -> None:
    key = backend.key("bucket")
    bucket = client.token_bucket(key, 1, 30)
    await bucket.try_acquire()
    with trio.move_on_after(0.02) as scope:
        await bucket.acquire()
    assert scope.cancelled_caught
    await backend.until(key, 1, 0)


async def test_the_first_tokens_last_until_the_window_ends(
    backend: Backend, client: Client
) -> None:
    """All clients whose clocks agree have the same windows."""
    key = backend.key("bucket")
    options = client.token_bucket(key, 3, 60)._options
    bucket = TokenBucket(options, 3, 60, wall_clock=lambda: 60_000 + 18.7)
    await bucket.acquire()
    (holder,) = await client.holders(key)
    assert holder.since is not None
    assert holder.until is not None
    assert 42 <= holder.until - holder.since <= 43


async def test_each_token_of_a_sliding_bucket_lasts_a_whole_period(
    backend: Backend, client: Client
) -> None:
    """Also one that is free at once."""
    key = backend.key("bucket")
    for acquire in ("acquire", "try_acquire"):
        bucket = client.token_bucket(key, 3, 60, sliding=True)
        await getattr(bucket, acquire)()
        *_, holder = await client.holders(key)
        assert holder.since is not None
        assert holder.until is not None
        assert 60 <= holder.until - holder.since <= 61


@pytest.mark.slow
async def test_a_token_that_was_waited_for_lasts_a_whole_period(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_backend("memory") as backend, backend.open_client() as client:
        bucket = client.token_bucket("bucket", 1, 10)
        await bucket.acquire()
        await bucket.acquire()
        second_at = trio.current_time()
        await bucket.acquire()
        assert 10 <= trio.current_time() - second_at <= 11.1


@pytest.mark.parametrize("tokens", [0, 65_536])
async def test_tokens_that_cannot_be_are_refused(client: Client, tokens: int) -> None:
    with pytest.raises(ValueError, match="tokens must be 1 to 65535"):
        client.token_bucket("bucket", tokens, 1)


@pytest.mark.parametrize("per", [0, -1, float("nan")])
async def test_a_period_that_cannot_be_is_refused(client: Client, per: float) -> None:
    with pytest.raises(ValueError, match="per must be above 0"):
        client.token_bucket("bucket", 1, per)


@pytest.mark.parametrize("priority", [-1, 256])
async def test_a_priority_that_cannot_be_is_refused(
    client: Client, priority: int
) -> None:
    with pytest.raises(ValueError, match="priority must be 0 to 255"):
        client.token_bucket("bucket", 1, 1, priority=priority)
    with pytest.raises(ValueError, match="priority must be 0 to 255"):
        client.lock("lock", priority=priority)


async def test_repr_tells_the_limits(client: Client) -> None:
    assert "limit 3" in repr(client.concurrency("flow", 3))
    assert "3 tokens per 0.5 s" in repr(client.token_bucket("bucket", 3, 0.5))


@pytest.mark.parametrize("per", [1, 60])
async def test_any_other_answer_is_an_error(per: float) -> None:
    bucket = TokenBucket(answered(12), 1, per)
    for operation in (bucket.acquire, bucket.try_acquire):
        with pytest.raises(ServerError):
            await operation()
