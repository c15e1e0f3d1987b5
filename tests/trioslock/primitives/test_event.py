from __future__ import annotations

import secrets
from typing import Any, Literal

import outcome
import pytest
import trio
from tests.trioslock.backends import NOTHING, Backend
from tests.trioslock.primitives.answering import KEY, AnsweringRequester, answered
from trio.testing import assert_checkpoints

from trioslock import FOREVER, Client, Data, Event, LockError, ServerError
from trioslock.primitives import HandleOptions
from trioslock.protocol import LockCommand, LockResult

Default = Literal["clear", "set"]
BOTH = pytest.mark.parametrize("default", ["clear", "set"])


@BOTH
async def test_an_untouched_event_is_what_its_default_says(
    backend: Backend, client: Client, default: Default
) -> None:
    event = client.event(backend.key("event"), default=default, ttl=30)
    assert await event.is_set() == (default == "set")
    assert f"default {default}" in repr(event)


@BOTH
async def test_set_and_clear_may_be_repeated(
    backend: Backend, client: Client, other: Client, default: Default
) -> None:
    key = backend.key("event")
    ours = client.event(key, default=default, ttl=30)
    theirs = other.event(key, default=default, ttl=FOREVER)
    for event in (ours, theirs, ours):
        await event.set()
        await event.set()
        assert await ours.is_set()
        assert await theirs.is_set()
        await event.clear()
        await event.clear()
        assert not await ours.is_set()
        assert not await theirs.is_set()
    await ours.set()
    if default == "clear":
        await ours.clear()
    assert await backend.claims(key) == NOTHING


@BOTH
async def test_set_wakes_all_waiters(
    backend: Backend, client: Client, other: Client, default: Default
) -> None:
    key = backend.key("event")
    publisher = client.event(key, default=default, ttl=30)
    await publisher.clear()
    before = await backend.claims(key)
    woken = []

    async def wait(waiter: Client, number: int) -> None:
        await waiter.event(key, default=default, ttl=30).wait()
        woken.append(number)

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            for number in range(6):
                nursery.start_soon(wait, (client, other)[number % 2], number)
            await backend.until(key, before.holders, 6)
            assert not woken
            await publisher.set()
    assert sorted(woken) == list(range(6))
    await publisher.wait()


@BOTH
async def test_data_reaches_who_waits(
    backend: Backend, client: Client, other: Client, default: Default
) -> None:
    key = backend.key("event")
    publisher = client.event(key, default=default, ttl=30)
    await publisher.clear()
    before = await backend.claims(key)
    got: list[Data | None] = []

    async def wait() -> None:
        got.append(await other.event(key, default=default, ttl=30).wait())

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await backend.until(key, before.holders, 1)
            await publisher.set(Data.set("news"))
    (data,) = got
    assert data is not None
    assert data.text == "news"


async def test_clearing_can_drop_the_value(backend: Backend, client: Client) -> None:
    event = client.event(backend.key("event"), ttl=30)
    await event.set(Data.set("old"))
    await event.clear(Data.unset())
    await event.set()
    assert await event.wait() is None
    await event.clear()


@BOTH
async def test_wait_and_reset_leaves_it_clear_and_without_value(
    backend: Backend, client: Client, default: Default
) -> None:
    key = backend.key("event")
    event = client.event(key, default=default, ttl=30)
    await event.clear()
    before = await backend.claims(key)
    got: list[Data | None] = []

    async def wait() -> None:
        got.append(await event.wait_and_reset())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await backend.until(key, before.holders, 1)
        await event.set(Data.set("once"))
    (data,) = got
    assert data is not None
    assert data.text == "once"
    assert not await event.is_set()
    await event.set()
    assert await event.wait() is None


@BOTH
async def test_a_cancelled_wait_leaves_no_waiter(
    backend: Backend, client: Client, default: Default
) -> None:
    key = backend.key("event")
    event = client.event(key, default=default, ttl=30)
    await event.clear()
    before = await backend.claims(key)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(event.wait)
        nursery.start_soon(event.wait_and_reset)
        await backend.until(key, before.holders, 2)
        nursery.cancel_scope.cancel()
    await backend.until(key, before.holders, 0)
    assert not await event.is_set()


async def test_a_reset_that_has_begun_is_finished(
    backend: Backend, client: Client
) -> None:
    """A wake is not lost: either it is returned, or the event is still set."""
    event = client.event(backend.key("event"), ttl=30)
    for step in range(1, 6):
        await event.set()
        got = False
        with trio.CancelScope() as scope:

            async def cancel(after: int, scope: trio.CancelScope = scope) -> None:
                for _ in range(after):
                    await trio.lowlevel.checkpoint()
                scope.cancel()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(cancel, step)
                await event.wait_and_reset()
                got = True
        assert await event.is_set() is not got


async def test_every_call_is_a_checkpoint(backend: Backend, client: Client) -> None:
    event = client.event(backend.key("event"), ttl=30)
    with assert_checkpoints():
        await event.set()
    with assert_checkpoints():
        await event.wait()
    with assert_checkpoints():
        await event.is_set()
    with assert_checkpoints():
        await event.wait_and_reset()
    with assert_checkpoints():
        await event.clear()


@pytest.mark.slow
async def test_a_set_event_falls_back_after_its_time(
    backend: Backend, client: Client
) -> None:
    key = backend.key("event")
    event = client.event(key, ttl=0.2)
    await event.set()
    assert await event.is_set()
    with trio.fail_after(4):
        await backend.until(key, 0, 0)
    assert not await event.is_set()


async def test_a_lock_on_an_events_key_is_an_error(
    backend: Backend, client: Client
) -> None:
    key = backend.key("event")
    async with client.lock(key):
        with pytest.raises(LockError):
            await client.event(key, ttl=30).set()
        with pytest.raises(LockError):
            await client.event(key, ttl=30).clear()


async def test_events_of_two_databases_are_two(
    backend: Backend, client: Client
) -> None:
    key = backend.key("event")
    one, two = client.db(97).event(key, ttl=30), client.db(98).event(key, ttl=30)
    # In a database that was never used there is nothing to clear.
    await two.clear()
    await one.set()
    assert not await two.is_set()
    await one.clear()


async def test_arguments_are_checked(client: Client) -> None:
    with pytest.raises(ValueError, match="default must be"):
        client.event("k", default="open", ttl=1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="above 0"):
        client.event("k", ttl=0)
    with pytest.raises(ValueError, match="0 to 254"):
        client.db(255)


@pytest.mark.parametrize("default", ["clear", "set"])
async def test_any_other_answer_is_an_error(default: Any) -> None:
    event = Event(answered(12, lease=60), default=default)
    for operation in (
        *(event.set, event.clear, event.is_set),
        *(event.wait, event.wait_and_reset),
    ):
        with pytest.raises(ServerError):
            await operation()


@BOTH
async def test_an_event_that_pyslock_holds(
    backend: Backend, client: Client, default: Default
) -> None:
    """It pads the name on the other side; the event is released under that id."""
    # Only a name of less than 16 bytes is padded.
    key = secrets.token_hex(5)
    event = client.event(key, default=default, ttl=30)
    pyslock_id = event.key.lstrip(b"\0").ljust(16, b"\0")
    held = event._lock(
        lock_id=pyslock_id, lease=event._ttl, max_count=int(default == "clear")
    )
    await event._requester.request(held)
    assert await event.is_set() == (default == "clear")
    await (event.clear() if default == "clear" else event.set())
    assert await event.is_set() == (default == "set")
    assert await backend.claims(key) == NOTHING


@BOTH
async def test_a_key_that_a_lock_holds(
    backend: Backend, client: Client, default: Default
) -> None:
    """It is no event's, and is not released."""
    key = backend.key("event")
    event = client.event(key, default=default, ttl=30)
    async with client.lock(key, lease=30) as grant:
        with pytest.raises(LockError):
            await (event.clear() if default == "clear" else event.set())
        holder = await client.lock(key).show()
        assert holder is not None
        assert holder.lock_id == grant.lock_id


async def test_data_of_an_iterator_is_read_once(
    backend: Backend, client: Client
) -> None:
    """A group that another version holds is cleared by two commands."""
    key = backend.key("group")
    group = client.group_event(key, ttl=60)
    await group.clear(part for part in ("a", "b"))
    (holder,) = await client.holders(key)
    assert holder.data is not None
    assert holder.data.array == (b"a", b"b")
    await group.set()


# A wait without a task.


Ended = list[outcome.Outcome[Data | None]]


@BOTH
async def test_a_begun_wait_ends_by_a_call(
    backend: Backend, client: Client, other: Client, default: Default
) -> None:
    """As `wait` returns: with the value, and nothing is left."""
    key = backend.key("event")
    publisher = other.event(key, default=default, ttl=30)
    await publisher.clear()
    before = await backend.claims(key)
    ended: Ended = []
    event = client.event(key, default=default, ttl=30)
    waits = [event.begin_wait(ended.append) for _ in range(3)]
    await backend.until(key, before.holders, 3)
    assert ended == []
    await publisher.set()
    with trio.fail_after(5):
        while len(ended) < 3:  # noqa: ASYNC110
            await trio.sleep(0.01)
    assert [each.unwrap() for each in ended] == [None] * 3
    for wait in waits:
        wait.withdraw()
    await publisher.clear()
    assert await backend.claims(key) == before
    assert client.statistics().in_flight == 0


async def test_a_begun_wait_for_an_event_that_is_set(
    backend: Backend, client: Client
) -> None:
    """It ends at once, with the value."""
    event = client.event(backend.key("event"), ttl=30)
    await event.set("value")
    ended: Ended = []
    event.begin_wait(ended.append)
    with trio.fail_after(5):
        while not ended:  # noqa: ASYNC110
            await trio.sleep(0.01)
    value = ended[0].unwrap()
    assert value is not None
    assert value.text == "value"
    await event.clear()


async def test_a_begun_wait_that_is_withdrawn(backend: Backend, client: Client) -> None:
    """Sent or not, it does not wait on the server, and its call never comes."""
    key = backend.key("event")
    event = client.event(key, ttl=30)
    ended: Ended = []
    for is_sent in (False, True):
        wait = event.begin_wait(ended.append)
        if is_sent:
            await backend.until(key, 0, 1)
        wait.withdraw()
        wait.withdraw()
        await client.ping()
        assert await backend.claims(key) == NOTHING
    await event.set()
    await client.ping()
    assert ended == []
    await event.clear()


async def test_a_begun_wait_that_the_server_refuses() -> None:
    """The outcome is the error that `wait` raises."""

    class Refusing:
        wait = AnsweringRequester.wait

        def new_id(self) -> bytes:
            return bytes(16)

        def begin_acquire(self, command: LockCommand, ended: Any) -> None:
            ids = (command.lock_id, command.key)
            refused = (command.type, command.request_id, 11, 0, command.db, *ids)
            ended(outcome.Value(LockResult(*refused, 1, 0, 1, 0, None)))

    requester: Any = Refusing()
    ended: Ended = []
    Event(HandleOptions(requester, KEY, lease=30)).begin_wait(ended.append)
    with pytest.raises(ServerError):
        ended[0].unwrap()
