from __future__ import annotations

import pytest
import trio
from tests.trioslock.backends import NOTHING, Backend

from trioslock import Client, Grant, LockLost, NotHeld
from trioslock.recipes._holding import Holding


class Keys:
    """Two keys that are held together."""

    def __init__(self, backend: Backend, client: Client) -> None:
        self.names = [backend.key("first"), backend.key("second")]
        self._client = client

    async def take(self) -> tuple[str, Grant, Grant]:
        locks = [self._client.lock(name) for name in self.names]
        return "given", await locks[0].acquire(), await locks[1].acquire()


async def test_the_grants_are_held_while_the_body_runs(
    backend: Backend, client: Client, other: Client
) -> None:
    keys = Keys(backend, client)
    async with Holding(keys.take) as given:
        assert given == "given"
        for name in keys.names:
            assert await other.lock(name).locked()
    for name in keys.names:
        assert await backend.claims(name) == NOTHING


@pytest.mark.parametrize("which", [0, 1])
async def test_a_loss_of_any_cancels_the_body(
    backend: Backend, client: Client, which: int
) -> None:
    keys = Keys(backend, client)
    grants: list[Grant] = []

    async def take() -> tuple[str, Grant, Grant]:
        given, *taken = await keys.take()
        grants.extend(taken)
        return given, taken[0], taken[1]

    with pytest.raises(LockLost) as caught:
        async with Holding(take):
            grants[which].lost("taken")
            await trio.sleep_forever()
    assert caught.value.key == grants[which].key
    assert await backend.claims(keys.names[1 - which]) == NOTHING


async def test_a_body_that_fails_keeps_its_error(
    backend: Backend, client: Client, other: Client
) -> None:
    """With a note for each key that was lost."""
    keys = Keys(backend, client)
    with pytest.raises(ValueError, match="mine") as caught:
        async with Holding(keys.take):
            for name in keys.names:
                await other.lock(name).release_head()
            raise ValueError("mine")
    assert len(caught.value.__notes__) == 2
    with pytest.raises(NotHeld):
        await other.lock(keys.names[0]).release_head()


async def test_it_is_entered_once(backend: Backend, client: Client) -> None:
    holding = Holding(Keys(backend, client).take)
    async with holding:
        with pytest.raises(RuntimeError, match="entered already"):
            await holding.__aenter__()
