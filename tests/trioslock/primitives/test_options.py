from __future__ import annotations

import dataclasses

import pytest

from trioslock import FOREVER, SESSION, Client, Flags
from trioslock.primitives import HandleOptions
from trioslock.protocol import ExpiryFlag, TimeoutFlag


@pytest.fixture(params=["embedded"])
def backend_choice(request: pytest.FixtureRequest) -> tuple[str, None]:
    """One server is enough: options only read what the session is set to."""
    return request.param, None


@pytest.fixture
def options(client: Client) -> HandleOptions:
    return HandleOptions(client._session, bytes(16))


async def test_all_but_requester_and_key_has_a_default(options: HandleOptions) -> None:
    assert (options.db, options.lease, options.priority) == (0, SESSION, None)
    assert (options.flags, options.renew) == (Flags(), True)
    assert options.wait_bits == 0


@pytest.mark.parametrize("priority", [-1, 256])
async def test_a_priority_out_of_range_is_refused(
    options: HandleOptions, priority: int
) -> None:
    with pytest.raises(ValueError, match="priority must be 0 to 255"):
        dataclasses.replace(options, priority=priority)


async def test_a_priority_is_marked_beside_the_wait(options: HandleOptions) -> None:
    flags = Flags(publish=True)
    loud = dataclasses.replace(options, flags=flags)
    assert loud.wait_bits == TimeoutFlag.PUBLISH
    first = dataclasses.replace(options, flags=flags, priority=0)
    assert first.wait_bits == TimeoutFlag.PUBLISH | TimeoutFlag.RCOUNT_IS_PRIORITY


@pytest.mark.parametrize(
    ("lease", "whole_seconds", "value", "unit"),
    [
        (7, True, 7, 0),
        (0.5, False, 500, ExpiryFlag.MILLISECONDS),
        (0.5, True, 1, 0),
        (FOREVER, True, 1, ExpiryFlag.UNLIMITED),
    ],
)
async def test_the_flags_travel_beside_the_lease(
    options: HandleOptions, lease: float, whole_seconds: bool, value: int, unit: int
) -> None:
    logged = dataclasses.replace(options, lease=lease, flags=Flags(log="at-once"))
    sent = logged.wire_lease(whole_seconds=whole_seconds)
    assert sent == (value, unit | ExpiryFlag.LOG_AT_ONCE)
