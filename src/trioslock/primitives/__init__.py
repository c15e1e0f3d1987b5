"""Handles on keys, and what they grant: one file for each primitive.

A primitive sees the request seam of the link (`trioslock.link.Requester`) and
nothing above it. Those that hand out grants build on `Acquirable`.
"""

from __future__ import annotations

from ._acquirable import Acquirable
from ._event import Event
from ._flags import NO_FLAGS, Flags
from ._grant import Grant
from ._holder import Holder, Waiter
from ._lease import SESSION, Lease, Session, wire_lease
from ._lock import Lock
from ._results import refusal

__all__ = [
    "NO_FLAGS",
    "SESSION",
    "Acquirable",
    "Event",
    "Flags",
    "Grant",
    "Holder",
    "Lease",
    "Lock",
    "Session",
    "Waiter",
    "refusal",
    "wire_lease",
]
