"""The bearer token of a request."""

from __future__ import annotations

import itertools

import trio

from triopoll.client._credentials import Credential


async def test_a_fixed_token() -> None:
    """It is sent as it is, and cannot be renewed."""
    credential = Credential("secret")
    assert await credential.headers() == {"Authorization": "Bearer secret"}
    assert not credential.renewable
    credential.forget()
    assert await credential.headers() == {"Authorization": "Bearer secret"}


async def test_no_token() -> None:
    """No header is sent."""
    credential = Credential(None)
    assert await credential.headers() == {}
    assert not credential.renewable


async def test_a_token_that_is_fetched() -> None:
    """Once, and again after it was forgotten."""
    numbers = itertools.count(1)

    async def fetch() -> str:
        await trio.lowlevel.checkpoint()
        return f"t{next(numbers)}"

    credential = Credential(fetch)
    assert credential.renewable
    for _ in range(2):
        assert await credential.headers() == {"Authorization": "Bearer t1"}
    credential.forget()
    assert await credential.headers() == {"Authorization": "Bearer t2"}


async def test_a_cancelled_fetch_leaves_nothing() -> None:
    """The next call fetches again."""
    fetches = 0

    async def fetch() -> str:
        nonlocal fetches
        fetches += 1
        await trio.lowlevel.checkpoint()
        return "token"

    credential = Credential(fetch)
    with trio.CancelScope() as scope:
        scope.cancel()
        await credential.headers()
    assert scope.cancelled_caught
    assert await credential.headers() == {"Authorization": "Bearer token"}
    assert fetches == 2
