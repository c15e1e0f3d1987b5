"""How long a grant lasts: as long as the connection, or some seconds."""

from __future__ import annotations

from enum import Enum
from typing import Final

from .._arguments import check_seconds
from ..link import Requester
from ..protocol import WireDuration, encode_lease


class SessionLease(Enum):
    """Type of the one value `SESSION`."""

    SESSION = "SESSION"

    def __repr__(self) -> str:
        return self.value


SESSION: Final = SessionLease.SESSION
"""A lease that the server renews as long as the connection lives."""

Lease = float | SessionLease
"""Seconds, ``FOREVER``, or `SESSION`."""


def wire_lease(
    requester: Requester, lease: Lease, *, whole_seconds: bool = False
) -> WireDuration:
    """Return a lease as it is sent.

    Args:
        requester: Knows how long a session lives.
        lease: Checked by `check_lease`.
        whole_seconds: Never use milliseconds, which the server cannot renew.

    Raises:
        LocalProtocolError: More than 65,535 minutes.
    """
    if isinstance(lease, SessionLease):
        return requester.session_lease
    return encode_lease(lease, whole_seconds=whole_seconds)


def check_lease(lease: Lease) -> Lease:
    """Return a lease that can be asked for.

    Raises:
        TypeError: It is neither a number nor `SESSION`.
        ValueError: It is not above 0 seconds.
    """
    if not isinstance(lease, SessionLease):
        check_seconds(lease, "a lease", forever=True)
    return lease
