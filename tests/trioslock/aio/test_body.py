"""A loss cancels the task, as ``asyncio.timeout`` does, and races with others."""

from __future__ import annotations

import asyncio

import pytest
from tests.trioslock.aio.conftest import Run
from tests.trioslock.outside import Outside, open_outside

from trioslock import aio
from trioslock.aio._body import TaskBody


def current() -> asyncio.Task[None]:
    task = asyncio.current_task()
    assert task is not None
    return task


def test_a_lost_grant_cancels_its_body(outside: Outside, run: Run) -> None:
    """And the count of cancellations is as before."""
    if outside.server is None:
        pytest.skip("a real slock sends no notice of another client's release")
    key = outside.key()

    async def main() -> None:
        async with aio.open_client(outside.url) as client:
            with pytest.raises(aio.LockLost, match="not held any more"):
                async with client.lock(key):
                    outside.lose(key)
                    await asyncio.sleep(30)
            assert current().cancelling() == 0
            await asyncio.sleep(0)

    run(main())


async def lose(outside: Outside, client: aio.Client, *keys: str) -> None:
    """Lose keys, and wait until the client knows."""
    before = client.statistics().held
    for key in keys:
        outside.lose(key)
    while client.statistics().held > before - len(keys):
        await asyncio.sleep(0.001)


@pytest.mark.parametrize("lost", ["outer", "inner", "both"])
def test_nested_bodies(run: Run, lost: str) -> None:
    """Each body raises its own loss; the outer one's cancellation passes the inner."""
    ended: list[str] = []

    async def main(outside: Outside) -> None:
        async with aio.open_client(outside.url) as client:
            with pytest.raises(aio.LockLost) as caught:
                async with client.lock("outer"):
                    try:
                        async with client.lock("inner"):
                            keys = ("outer", "inner") if lost == "both" else (lost,)
                            try:
                                await lose(outside, client, *keys)
                                await asyncio.sleep(30)
                            except asyncio.CancelledError:
                                # Both have come when the inner one ends.
                                while client.statistics().held > 2 - len(keys):
                                    await asyncio.sleep(0.001)
                                raise
                    except BaseException as error:
                        ended.append(type(error).__name__)
                        raise
            assert current().cancelling() == 0
            name = "inner" if lost == "inner" else "outer"
            assert caught.value.key.endswith(name.encode())

    with open_outside(None) as outside:
        run(main(outside))
    assert ended == ["LockLost" if lost == "inner" else "CancelledError"]


@pytest.mark.parametrize("first", ["loss", "cancel"])
def test_a_cancellation_from_outside_wins(run: Run, first: str) -> None:
    async def hold(client: aio.Client, entered: asyncio.Event) -> None:
        async with client.lock("key"):
            entered.set()
            await asyncio.sleep(30)

    async def main(outside: Outside) -> None:
        async with aio.open_client(outside.url) as client:
            entered = asyncio.Event()
            task = asyncio.create_task(hold(client, entered))
            await entered.wait()
            (grant,) = client._client._session._table.held.values()
            if first == "loss":
                grant.lost("expired")
                task.cancel()
            else:
                task.cancel()
                grant.lost("expired")
            with pytest.raises(asyncio.CancelledError):
                await task
            assert task.cancelled()

    with open_outside(None) as outside:
        run(main(outside))


def test_a_timeout_around_a_lost_body_is_none(run: Run) -> None:
    """The loss is not taken for the timeout, nor the timeout for the loss."""

    async def main(outside: Outside) -> None:
        async with aio.open_client(outside.url) as client:
            with pytest.raises(aio.LockLost):
                async with asyncio.timeout(30), client.lock("key"):
                    outside.lose("key")
                    await asyncio.sleep(30)
            with pytest.raises(TimeoutError):
                async with client.lock("key"), asyncio.timeout(0.01):
                    await asyncio.sleep(30)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01), client.lock("key"):
                    await asyncio.sleep(30)

    with open_outside(None) as outside:
        run(main(outside))


def test_a_body_that_does_not_wait_ends_with_its_loss(run: Run) -> None:
    """Without a cancellation that comes later."""

    async def main() -> None:
        body = TaskBody()
        body.cancel()
        body.cancel()
        assert not await body.end(None)
        await asyncio.sleep(0)
        assert current().cancelling() == 0

    run(main())


def test_a_body_that_does_not_wait_keeps_other_cancellations(run: Run) -> None:
    async def main() -> None:
        body = TaskBody()
        current().cancel()
        body.cancel()
        with pytest.raises(asyncio.CancelledError):
            await body.end(None)
        assert current().uncancel() == 0

    run(main())


def test_a_failed_body_keeps_its_error(run: Run) -> None:
    async def main(outside: Outside) -> None:
        async with aio.open_client(outside.url) as client:
            with pytest.raises(ValueError, match="own") as caught:
                async with client.lock("key"):
                    try:
                        outside.lose("key")
                        await asyncio.sleep(30)
                    except asyncio.CancelledError:
                        raise ValueError("own") from None
            assert "not held any more" in caught.value.__notes__[0]

    with open_outside(None) as outside:
        run(main(outside))


def test_the_deadline_of_a_lease_cancels(run: Run) -> None:
    async def main() -> None:
        async with aio_trio_clock() as now:
            body = TaskBody()
            body.deadline = now() + 30
            body.deadline = now() + 0.01
            with pytest.raises(asyncio.CancelledError):
                await asyncio.sleep(30)
            # A loop may count in whole milliseconds.
            assert body.deadline < now() + 0.002
            assert await body.end(asyncio.CancelledError())

    def aio_trio_clock() -> ClockOfTrio:
        return ClockOfTrio()

    run(main())


class ClockOfTrio:
    """Trio's clock, which a guest run brings along."""

    async def __aenter__(self) -> object:
        import trio

        from trioslock.aio._portal import Portal

        self.portal = await Portal.attach(self)
        return trio.current_time

    async def __aexit__(self, *_: object) -> None:
        await self.portal.detach(self)


def test_a_body_belongs_to_a_task(run: Run) -> None:
    async def main() -> None:
        errors: list[str] = []

        def callback() -> None:
            try:
                TaskBody()
            except RuntimeError as error:
                errors.append(str(error))

        asyncio.get_running_loop().call_soon(callback)
        await asyncio.sleep(0.01)
        assert "by an asyncio task" in errors[0]

    run(main())
