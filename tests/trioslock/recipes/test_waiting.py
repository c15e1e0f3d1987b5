from __future__ import annotations

import pytest
import trio
from tests.trioslock.backends import NOTHING, Backend

from trioslock import Client, ConnectionLost
from trioslock.recipes._keys import derived_key
from trioslock.recipes._waiting import ChangeSignal, wait_first


async def test_the_first_wait_ends_the_others() -> None:
    never = trio.Event()
    await wait_first(never.wait, trio.lowlevel.checkpoint)
    assert never.statistics().tasks_waiting == 0


async def test_the_error_of_a_wait_comes_out_alone() -> None:
    async def fail() -> None:
        raise ConnectionLost("gone")

    with pytest.raises(ConnectionLost, match="gone"):
        await wait_first(trio.sleep_forever, fail)


async def test_a_change_wakes_all_that_wait_and_those_that_wait_later(
    backend: Backend, client: Client, other: Client
) -> None:
    key = derived_key(backend.key("signal"), "test")
    late = ChangeSignal(client, key)
    await late.prepare()
    woken = []

    async def wait() -> None:
        signal = ChangeSignal(other, key)
        await signal.prepare()
        await signal.wait()
        woken.append(signal)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        nursery.start_soon(wait)
        await backend.until(key, 1, 2)
        await ChangeSignal(client, key).send()
    await late.wait()
    assert len(woken) == 2


async def test_after_a_change_a_wait_lasts_until_the_next(
    backend: Backend, client: Client, other: Client
) -> None:
    key = derived_key(backend.key("signal"), "test")
    signal = ChangeSignal(client, key)
    await ChangeSignal(other, key).send()
    await signal.prepare()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(signal.wait)
        await backend.until(key, 1, 1)
        await ChangeSignal(other, key).send()


async def test_a_signal_that_is_removed_meanwhile_is_made_again(
    backend: Backend, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = derived_key(backend.key("signal"), "test")
    signal, remover = ChangeSignal(client, key), client.group_event(key, ttl=60)
    prepare, removed = signal.prepare, []

    async def prepare_and_remove() -> None:
        await prepare()
        if not removed:
            removed.append(True)
            await remover.set()

    monkeypatch.setattr(signal, "prepare", prepare_and_remove)
    await signal.send()
    assert removed
    assert not await remover.is_set()
    await remover.set()
    await backend.until(key, *NOTHING)
