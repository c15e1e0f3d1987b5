"""Seconds to a 16-bit value with its unit flag, and back.

This is the only module that handles the units. On the wire a wait and a lease are 16
bits of seconds, milliseconds or minutes; the unit is a bit of the flag word beside it,
the same bit for both.

- Whole seconds up to 65,535 are sent as seconds. The server's clock ticks at
  full seconds: N seconds end after more than N and at most N + 1.
- Fractions below three seconds are sent as milliseconds, which the server keeps
  to about a millisecond. From 3,000 ms on it counts whole seconds, and may end
  early, so longer fractions are rounded up to seconds instead.
- Longer ones are rounded up to minutes, at most 65,535 (45 days).

Source: snower/slock 2.1.12, ``protocol/command.go`` (``TIMEOUT_FLAG_*``,
``EXPRIED_FLAG_*``) and ``server/db.go`` (the timer queues).
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

from .._errors import LocalProtocolError
from ._constants import MAX_UINT16, ExpiryFlag, TimeoutFlag

FOREVER = math.inf
"""Lease of a lock that never ends by itself."""

MILLISECOND_LIMIT = 3000
"""From here on the server rounds milliseconds to seconds."""

_MINUTES = int(TimeoutFlag.MINUTES)
_MILLISECONDS = int(TimeoutFlag.MILLISECONDS)
_UNLIMITED = int(ExpiryFlag.UNLIMITED)


class WireDuration(NamedTuple):
    """A 16-bit value and the bits that give its unit."""

    value: int
    flag: int


def encode_duration(seconds: float, *, whole_seconds: bool = False) -> WireDuration:
    """Choose value and unit for a wait or a lease.

    Args:
        seconds: 0 or more, finite. Rounded up to the next value that the wire
            can carry, never down.
        whole_seconds: Never use milliseconds. A lease that will be renewed
            needs this: the server renews no lease in milliseconds.

    Returns:
        The value (0 to 65,535) and its unit flag (0, minutes or milliseconds).

    Raises:
        LocalProtocolError: ``seconds`` is negative, not a number, infinite, or
            above 65,535 minutes.
    """
    if not 0 <= seconds < math.inf:
        raise LocalProtocolError(
            f"a duration must be a finite number of seconds >= 0, not {seconds!r}"
        )
    # Whole seconds stay seconds: those leases can be renewed, and the server's clock
    # ticks in them anyway.
    if seconds != math.floor(seconds) and not whole_seconds:
        milliseconds = math.ceil(seconds * 1000)
        if milliseconds < MILLISECOND_LIMIT:
            return WireDuration(milliseconds, _MILLISECONDS)
    whole = math.ceil(seconds)
    if whole <= MAX_UINT16:
        return WireDuration(whole, 0)
    minutes = math.ceil(seconds / 60)
    if minutes <= MAX_UINT16:
        return WireDuration(minutes, _MINUTES)
    raise LocalProtocolError(
        f"a duration may be at most {MAX_UINT16} minutes, not {seconds!r} seconds"
    )


@functools.lru_cache(maxsize=1024)
def encode_lease(seconds: float, *, whole_seconds: bool = False) -> WireDuration:
    """Choose value and unit for a lease, which may also be ``FOREVER``.

    Args:
        seconds: As for `encode_duration`, or ``FOREVER``.
        whole_seconds: As for `encode_duration`.

    Returns:
        The value and its flag. An unlimited lease has value 1, since the server
        releases at once what is held for 0.

    Raises:
        LocalProtocolError: As for `encode_duration`.
    """
    if seconds == FOREVER:
        return WireDuration(1, _UNLIMITED)
    return encode_duration(seconds, whole_seconds=whole_seconds)


def decode_duration(value: int, flag: int) -> float:
    """Return the seconds that a value and its flag word stand for.

    Milliseconds take precedence over minutes, as on the server. An unlimited lease is
    ``FOREVER``, unless it is given in milliseconds or its value is 0: those end.
    """
    if flag & _MILLISECONDS:
        return value / 1000
    if flag & _UNLIMITED and value:
        return FOREVER
    return value * 60.0 if flag & _MINUTES else float(value)
