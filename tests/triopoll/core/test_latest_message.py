"""The latest message of an event, over an engine in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
import trio
from tests.triopoll.logrig import LIMIT, SETTINGS, SlockRig, open_rig
from trio.testing import MockClock

import trioslock
from triopoll.core.latest_message import LatestMessages
from triopoll.core.outcomes import (
    EventFired,
    Failure,
    KeptMessage,
    MissingMessage,
    NothingYet,
)
from triopoll.core.poll_query import PollQuery, Sending
from triopoll.core.poller import Poller
from triopoll.store import Budget, MemoryStore, MemoryValues
from trioslock.host import EngineHost

POLL = PollQuery("k", "clear", reset=True, timeout=30, lease=60)
SENDING = Sending("k", "clear", 60, to_list=False)


class Rig(SlockRig):
    """Messages and all that they use; the store has room for a few bytes."""

    def __init__(self, client: trioslock.Client, host: EngineHost) -> None:
        super().__init__(client, host, max_waits=2)
        budget = Budget(40)
        self.lists = MemoryStore(budget=budget)
        values = MemoryValues(budget=budget)
        self.poller = Poller(client, self.lists, self.waits, self.monitor, SETTINGS)
        self.latest = LatestMessages(client, self.lists, values, self.poller, LIMIT)

    async def is_set(self) -> bool:
        return await self.client.event("k", ttl=60).is_set()


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    async with open_rig(Rig) as rig:
        yield rig


async def test_a_message_comes(autojump_clock: MockClock, rig: Rig) -> None:
    """The wait ends with it, and puts the event back."""

    async def send_soon() -> None:
        await trio.sleep(1)
        assert await rig.latest.send(SENDING, b"[1]") is None

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send_soon)
        assert await rig.latest.wait(POLL) == KeptMessage(b"[1]")
    assert trio.current_time() == pytest.approx(1)
    assert not await rig.is_set()
    assert await rig.latest.wait(POLL) == NothingYet()


async def test_the_latest_message_is_the_one(
    autojump_clock: MockClock, rig: Rig
) -> None:
    """It outlives its event by a minute."""
    await rig.latest.send(SENDING, b"1")
    await rig.latest.send(SENDING, b"2")
    assert await rig.latest.latest("k") == KeptMessage(b"2")
    await trio.sleep(119)
    assert not await rig.is_set()
    assert await rig.latest.latest("k") == KeptMessage(b"2")
    await trio.sleep(2)
    assert await rig.latest.latest("k") == MissingMessage()


async def test_an_event_alone(autojump_clock: MockClock, rig: Rig) -> None:
    """A wait for the event ends; there is no message."""
    assert await rig.latest.emit(SENDING) is None
    assert await rig.poller.wait_event(POLL) == EventFired()
    assert await rig.latest.emit(SENDING) is None
    assert await rig.latest.wait(POLL) == MissingMessage()


async def test_a_list(autojump_clock: MockClock, rig: Rig) -> None:
    """A message for one poll goes to its end."""
    sending = Sending("k", "clear", 60, to_list=True)
    for message in (b"1", b"2"):
        assert await rig.latest.send(sending, message) is None
    taken = [await rig.lists.pop("k") for _ in range(3)]
    assert [one and one.data for one in taken] == [b"1", b"2", None]
    assert await rig.latest.latest("k") == MissingMessage()
    assert await rig.is_set()


@pytest.mark.parametrize("to_list", [False, True])
async def test_no_room(autojump_clock: MockClock, rig: Rig, to_list: bool) -> None:
    """A message that is not stored wakes nothing."""
    sending = Sending("k", "clear", 60, to_list)
    assert await rig.latest.send(sending, 50 * b"1") is Failure.STORE_FAILED
    assert not await rig.is_set()


async def test_a_closed_client(autojump_clock: MockClock) -> None:
    """A message that is stored but not announced is a failure."""
    async with open_rig(Rig) as rig:
        pass
    assert await rig.latest.send(SENDING, b"1") is Failure.SLOCK_UNREACHABLE
    assert await rig.latest.latest("k") == KeptMessage(b"1")
    assert await rig.latest.emit(SENDING) is Failure.SLOCK_UNREACHABLE
    assert await rig.latest.wait(POLL) is Failure.SLOCK_UNREACHABLE


@pytest.mark.parametrize("to_list", [False, True])
async def test_a_sender_that_leaves_leaves_no_message_without_its_event(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, to_list: bool
) -> None:
    """A wait would not be woken for it."""
    store, name = (rig.lists, "push") if to_list else (rig.latest._values, "put")
    stored = getattr(store, name)

    async def leave_when_stored(*args: Any) -> Any:
        result = await stored(*args)
        scope.cancel()
        await trio.lowlevel.checkpoint()  # as Redis answers later than it stores
        return result

    monkeypatch.setattr(store, name, leave_when_stored)
    with trio.CancelScope() as scope:
        await rig.latest.send(replace(SENDING, to_list=to_list), b"[1]")
    assert scope.cancel_called
    assert await rig.is_set()
