"""What a caller may ask of the server besides waiting and holding.

Flags that change waiting, withdrawal or loss notices have no name here: only the
primitives set them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from .._arguments import check_bool, check_choice
from ..protocol import ExpiryFlag, TimeoutFlag

_LOG_BITS = {
    "default": 0,
    "at-once": ExpiryFlag.LOG_AT_ONCE,
    "never": ExpiryFlag.NEVER_LOG,
}


@dataclass(frozen=True, slots=True)
class Flags:
    """Flags of each LOCK of a handle, a database, or a client.

    Attributes:
        require_ack: Grant only when the server has logged the grant and enough
            replicas have acknowledged it. Needs a wait: a ``try_acquire`` gets
            at most about one second for it.
        publish: Publish refused and timed-out requests and ended leases to
            subscribers. Grants and releases are never published.
        log: When the server writes the grant to its log: after a while
            (``"default"``), ``"at-once"``, or ``"never"``. What is not logged
            does not outlive the server.
        lease_from_request: Count the lease from the request, not from the grant;
            leases of whole seconds alone.
        wait_bits: The resulting bits of the flag word beside a LOCK's wait.
        lease_bits: The resulting bits of the flag word beside a LOCK's lease.
    """

    require_ack: bool = False
    publish: bool = False
    log: Literal["default", "at-once", "never"] = "default"
    lease_from_request: bool = False
    wait_bits: int = field(init=False, repr=False, compare=False)
    lease_bits: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("require_ack", "publish", "lease_from_request"):
            check_bool(getattr(self, name), name)
        check_choice(self.log, "log", *_LOG_BITS)
        if self.require_ack and self.log == "never":
            raise ValueError("what is never logged cannot be acknowledged")

        # Computed once, here: a handle is made for each use of a key.
        object.__setattr__(self, "wait_bits", self._bits_beside_wait())
        object.__setattr__(self, "lease_bits", self._bits_beside_lease())

    def _bits_beside_wait(self) -> int:
        bits = TimeoutFlag(0)
        if self.require_ack:
            bits |= TimeoutFlag.REQUIRE_ACKED
        if self.publish:
            bits |= TimeoutFlag.PUBLISH
        if self.lease_from_request:
            bits |= TimeoutFlag.UNRENEW
        return int(bits)

    def _bits_beside_lease(self) -> int:
        publish = ExpiryFlag.PUBLISH if self.publish else 0
        return int(publish | _LOG_BITS[self.log])


NO_FLAGS = Flags()
"""No flags."""

UNIT_BITS = int(
    ExpiryFlag.MINUTES
    | ExpiryFlag.MILLISECONDS
    | ExpiryFlag.UNLIMITED
    | ExpiryFlag.KEEPALIVE
)
"""Bits of a lease's flag word that say how long it lasts."""
