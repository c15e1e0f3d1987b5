"""Ends of waits and leases in wall seconds, as the server counts them.

The server's clock ticks at each full wall second. A value of N seconds ends at
the (N + 1)th tick after the second of its start: more than N and at most N + 1
seconds later. Milliseconds below 3000 are exact; from there on they are whole
seconds, rounded *down*, so 3500 ms may end after 3.1 s.

Source: snower/slock 2.1.12, ``server/lock.go`` (``AddLock``,
``GetOrNewLock``), ``server/db.go`` (``AddMillisecondExpried``).
"""

from __future__ import annotations

from ..protocol import ExpiryFlag, LockCommand, TimeoutFlag

FOREVER = 1 << 62
"""Wall second at which a lease without end ends."""

EXACT_BELOW = 3000
"""Milliseconds from which on a duration is counted in whole seconds."""

_MINUTES = int(ExpiryFlag.MINUTES)
_MILLISECONDS = int(ExpiryFlag.MILLISECONDS)
_UNLIMITED = int(ExpiryFlag.UNLIMITED)
_LEASE_UNITS = _MINUTES | _MILLISECONDS | _UNLIMITED
_WAIT_UNITS = int(TimeoutFlag.MINUTES | TimeoutFlag.MILLISECONDS)
_WHOLE_LEASE = 0xFFFF


def lease_end(command: LockCommand, start: int) -> int:
    """Return the wall second at which a lease from ``start`` ends."""
    flags = command.expiry_flag & _LEASE_UNITS
    if not flags:
        return start + command.expiry + 1
    if flags & _UNLIMITED:
        return FOREVER
    return start + _seconds(command.expiry, flags) + 1


def wait_end(command: LockCommand, start: int) -> int:
    """Return the wall second at which a wait from ``start`` ends."""
    return start + _seconds(command.timeout, command.timeout_flag & _WAIT_UNITS) + 1


def keeps_lease(command: LockCommand) -> bool:
    """Return whether an update leaves the lease as it is (unlimited, 0xffff)."""
    return bool(command.expiry_flag & _UNLIMITED and command.expiry == _WHOLE_LEASE)


def renewal(value: int, flags: int) -> int:
    """Return the seconds by which a keep-alive renews a wait or a lease.

    Never less than one: a lease of milliseconds that has run out is checked each
    second.
    """
    if flags & _MILLISECONDS:
        return max(1, -(-value // 1000))
    return max(1, _seconds(value, flags))


def _seconds(value: int, flags: int) -> int:
    """Return a value in seconds; the two flag words have the same unit bits."""
    if flags & _MILLISECONDS:
        return value // 1000
    return value * 60 if flags & _MINUTES else value
