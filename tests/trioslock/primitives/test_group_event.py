from __future__ import annotations

import pytest
import trio
from tests.trioslock.backends import NOTHING, Backend
from tests.trioslock.primitives.answering import answered

from trioslock import FOREVER, Client, Data, GroupEvent, LockError, NotHeld, ServerError


async def test_a_group_is_set_until_it_is_cleared(
    backend: Backend, client: Client, other: Client
) -> None:
    key = backend.key("group")
    group = client.group_event(key, ttl=60)
    assert await group.is_set()
    assert await group.wait() is None
    await group.clear()
    assert not await other.group_event(key, ttl=60).is_set()
    await other.group_event(key, ttl=60).set()
    assert await group.is_set()
    assert await backend.claims(key) == NOTHING


async def test_doing_it_twice_is_the_same_as_once(
    backend: Backend, client: Client
) -> None:
    group = client.group_event(backend.key("group"), ttl=60)
    await group.set()
    await group.clear()
    await group.clear()
    assert not await group.is_set()
    await group.set()
    await group.set()
    assert await group.is_set()


async def test_set_wakes_all_members_with_its_data(
    backend: Backend, client: Client, other: Client
) -> None:
    key = backend.key("group")
    group = client.group_event(key, ttl=60)
    await group.clear()
    woken = []

    async def wait(member: int | None) -> None:
        data = await other.group_event(key, ttl=60, member=member).wait()
        woken.append(None if data is None else data.text)

    async with trio.open_nursery() as nursery:
        for member in (1, 2, None, None):
            nursery.start_soon(wait, member)
        await backend.until(key, 1, 4)
        await group.set(Data.set("news"))
    assert woken == ["news"] * 4


async def test_a_wakeup_wakes_all_and_leaves_the_group_clear(
    backend: Backend, client: Client, other: Client
) -> None:
    key = backend.key("group")
    group = client.group_event(key, ttl=60)
    await group.clear()
    member = other.group_event(key, ttl=60)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(member.wait)
        await backend.until(key, 1, 1)
        assert await group.wakeup() == 1
    assert not await group.is_set()
    assert await backend.claims(key) == (1, 0)
    await group.set()


async def test_a_wake_that_was_missed_is_made_up_for(
    backend: Backend, client: Client, other: Client
) -> None:
    """The next wait returns at once, with the version and the data of the wake."""
    key = backend.key("group")
    group = client.group_event(key, ttl=60, version=4)
    await group.clear()
    member = other.group_event(key, ttl=60, version=4)
    assert await group.wakeup() == 5
    assert await group.wakeup(Data.set("news")) == 6
    with trio.fail_after(5):
        data = await member.wait()
    assert data is not None
    assert data.text == "news"
    assert member.version == 6
    with trio.move_on_after(0.02) as scope:
        await member.wait()
    assert scope.cancelled_caught
    await backend.until(key, 1, 0)
    await group.set()


async def test_a_wakeup_is_never_missed_between_two_waits(
    backend: Backend, client: Client, other: Client
) -> None:
    """Each of many wakeups is seen: the member ends at the last version."""
    key = backend.key("group")
    group = client.group_event(key, ttl=60)
    await group.clear()
    member = other.group_event(key, ttl=60)

    async def follow() -> None:
        while member.version < 50:
            await member.wait()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(follow)
        for _ in range(50):
            await group.wakeup()
    assert member.version == 50
    await group.set()


async def test_clearing_adopts_the_version_there_is(
    backend: Backend, client: Client, other: Client
) -> None:
    """A newer one at once; an older one because the server has lost its memory."""
    key = backend.key("group")
    await client.group_event(key, ttl=60, version=8).clear()
    behind = other.group_event(key, ttl=60, version=3)
    await behind.clear()
    assert behind.version == 8
    await behind.set()


@pytest.mark.slow
async def test_clearing_adopts_an_older_version(
    backend: Backend, client: Client, other: Client
) -> None:
    key = backend.key("group")
    await client.group_event(key, ttl=60, version=8).clear()
    ahead = other.group_event(key, ttl=60, version=20)
    await ahead.clear()
    assert ahead.version == 8
    assert not await ahead.is_set()
    await ahead.set()


async def test_waking_a_group_that_is_set_says_what_to_do(
    backend: Backend, client: Client
) -> None:
    group = client.group_event(backend.key("group"), ttl=60)
    with pytest.raises(NotHeld, match="clear it first"):
        await group.wakeup()


async def test_wait_and_reset_clears_it_again(
    backend: Backend, client: Client, other: Client
) -> None:
    key = backend.key("group")
    group = client.group_event(key, ttl=60)
    await group.clear()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(other.group_event(key, ttl=60).wait_and_reset)
        await backend.until(key, 1, 1)
        await group.set()
    assert not await group.is_set()
    await group.set()


async def test_a_cancelled_wait_is_withdrawn(backend: Backend, client: Client) -> None:
    key = backend.key("group")
    group = client.group_event(key, ttl=60)
    await group.clear()
    for member in (None, 7):
        with trio.move_on_after(0.02) as scope:
            await client.group_event(key, ttl=60, member=member).wait()
        assert scope.cancelled_caught
        await backend.until(key, 1, 0)
    await group.set()


async def test_a_member_with_a_number_waits_once_at_a_time(
    backend: Backend, client: Client
) -> None:
    """Two waits under one id could not be distinguished when one is withdrawn."""
    key = backend.key("group")
    await client.group_event(key, ttl=60).clear()
    member = client.group_event(key, ttl=60, member=7)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(member.wait)
        await backend.until(key, 1, 1)
        with pytest.raises(trio.BusyResourceError, match="waits already"):
            await member.wait()
        await member.set()


async def test_a_lock_on_the_key_is_no_group(backend: Backend, client: Client) -> None:
    key = backend.key("group")
    async with client.lock(key):
        with pytest.raises(LockError):
            await client.group_event(key, ttl=60, version=2**64 - 1).clear()


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"member": -1}, "member must be"),
        ({"member": 2**64 - 1}, "member must be"),
        ({"version": 2**64}, "version must be"),
    ],
)
async def test_numbers_that_cannot_be_are_refused(
    client: Client, arguments: dict[str, int], match: str
) -> None:
    with pytest.raises(ValueError, match=match):
        client.group_event("group", ttl=1, **arguments)


async def test_repr_tells_version_and_member(client: Client) -> None:
    assert "version 3, member 4" in repr(
        client.group_event("group", ttl=FOREVER, version=3, member=4)
    )


async def test_any_other_answer_is_an_error() -> None:
    group = GroupEvent(answered(12, lease=60))
    for operation in (
        *(group.set, group.clear, group.is_set),
        *(group.wakeup, group.wait, group.wait_and_reset),
    ):
        with pytest.raises(ServerError):
            await operation()
    assert group.version == 0
