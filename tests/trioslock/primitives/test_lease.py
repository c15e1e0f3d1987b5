from __future__ import annotations

import math

import pytest
from tests.trioslock.backends import Backend

from trioslock import FOREVER, SESSION, Client, LocalProtocolError
from trioslock.primitives import wire_lease
from trioslock.protocol import ExpiryFlag


async def test_a_lease_must_be_above_zero(backend: Backend, client: Client) -> None:
    for lease in (0, -1, math.nan):
        with pytest.raises(ValueError, match="above 0"):
            client.lock("k", lease=lease)


@pytest.mark.parametrize(
    ("lease", "whole_seconds", "value", "flag"),
    [
        (SESSION, False, 10, ExpiryFlag.KEEPALIVE),
        (SESSION, True, 10, ExpiryFlag.KEEPALIVE),
        (5, False, 5, 0),
        (0.25, False, 250, ExpiryFlag.MILLISECONDS),
        (0.25, True, 1, 0),
        (FOREVER, False, 1, ExpiryFlag.UNLIMITED),
    ],
)
@pytest.mark.parametrize("backend_choice", ["embedded"], indirect=True)
async def test_a_lease_travels_with_its_unit(
    client: Client, lease: float, whole_seconds: bool, value: int, flag: int
) -> None:
    sent = wire_lease(client._session, lease, whole_seconds=whole_seconds)
    assert sent == (value, flag)


async def test_a_lease_that_the_protocol_cannot_carry_is_refused(
    client: Client,
) -> None:
    with pytest.raises(LocalProtocolError, match="65535 minutes"):
        wire_lease(client._session, 65_536 * 60)


def test_session_shows_its_name() -> None:
    assert repr(SESSION) == "SESSION"
