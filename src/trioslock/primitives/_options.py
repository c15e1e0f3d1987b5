"""The arguments that all handles have in common."""

from __future__ import annotations

from dataclasses import dataclass

from .._arguments import LONGEST, check_bool, check_int, check_type
from ..link import Requester
from ..protocol import ID_SIZE, MAX_DATABASE, NamedKey, TimeoutFlag, WireDuration
from ._flags import NO_FLAGS, Flags
from ._lease import SESSION, Lease, SessionLease, check_lease, wire_lease

_LEASES = (SessionLease, int, float)
_KEYS = (NamedKey, bytes)
_OTHERS = (Flags, bool, int)
MAX_PRIORITY = 255
"""Highest priority in a queue."""


@dataclass(frozen=True, slots=True)
class HandleOptions:
    """What a handle is made with. Each kind of handle uses the fields it needs.

    Attributes:
        requester: Sends the commands.
        key: Exactly 16 bytes.
        db: Database, 0 to 254.
        lease: How long a grant, a changed event or a value lasts: `SESSION` (as long
            as the connection; for grants only), seconds, or ``FOREVER``.
        priority: Position in the queue, 0 to 255, highest first. None for the end.
            All that wait for a key should give one, or none.
        flags: Flags of each LOCK.
        renew: Renew a lease of seconds while the body of a grant runs.

    Raises:
        TypeError: A field has the wrong type.
        ValueError: A field is out of range.
    """

    requester: Requester
    key: bytes
    db: int = 0
    lease: Lease = SESSION
    priority: int | None = None
    flags: Flags = NO_FLAGS
    renew: bool = True

    def __post_init__(self) -> None:
        # A handle is made for each use of a key, so what most are made with is seen
        # without a call.
        if not (
            self.priority is None
            and self.lease.__class__ in _LEASES
            and (self.flags.__class__, self.renew.__class__, self.db.__class__)
            == _OTHERS
            and self.key.__class__ in _KEYS
            and len(self.key) == ID_SIZE
            and 0 <= self.db <= MAX_DATABASE
            and (self.lease is SESSION or 0 < self.lease <= LONGEST)
        ):
            self._check()

    def _check(self) -> None:
        check_type(self.key, bytes, "a key", f"{ID_SIZE} bytes")
        if len(self.key) != ID_SIZE:
            raise ValueError(f"a key must be {ID_SIZE} bytes, not {self.key!r}")
        check_int(self.db, "a database", 0, MAX_DATABASE)
        check_lease(self.lease)
        if self.priority is not None:
            check_int(self.priority, "priority", 0, MAX_PRIORITY)
        check_type(self.flags, Flags, "flags", "Flags")
        check_bool(self.renew, "renew")

    @property
    def wait_bits(self) -> int:
        """Bits of the flag word beside the wait of a LOCK."""
        bits = self.flags.wait_bits
        if self.priority is not None:
            # The priority is sent in the place of the re-entrant count.
            bits |= TimeoutFlag.RCOUNT_IS_PRIORITY
        return bits

    def wire_lease(self, *, whole_seconds: bool) -> WireDuration:
        """Return the lease as it is sent, with the bits of the flags.

        Args:
            whole_seconds: Never use milliseconds, which the server cannot renew.

        Raises:
            ValueError: A lease of 0 or less.
            LocalProtocolError: More than 65,535 minutes.
        """
        value, unit = wire_lease(
            self.requester, self.lease, whole_seconds=whole_seconds
        )
        return WireDuration(value, unit | self.flags.lease_bits)
