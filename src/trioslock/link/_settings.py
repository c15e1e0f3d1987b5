"""How a session behaves, and what it reports about itself."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

from .._arguments import check_int, check_seconds, check_type
from ..protocol import ID_SIZE
from ._backoff import Backoff
from ._topology import SetState


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """How a session behaves; `trioslock.open_client` documents each."""

    client_id: bytes
    session_ttl: float = 10.0
    connect_timeout: float = 5.0
    backoff: Backoff | None = field(default_factory=Backoff)
    close_grace: float = 2.0
    max_inflight: int = 16_384

    def __post_init__(self) -> None:
        check_seconds(self.session_ttl, "session_ttl")
        check_seconds(self.connect_timeout, "connect_timeout", forever=True)
        check_seconds(self.close_grace, "close_grace", zero=True, forever=True)
        check_int(self.max_inflight, "max_inflight", 1, sys.maxsize)
        check_type(self.client_id, bytes, "client_id", f"{ID_SIZE} bytes")
        if self.backoff is not None:
            check_type(self.backoff, Backoff, "backoff", "a Backoff or None")
        if not 1 <= self.session_ttl <= 60_000:
            raise ValueError(
                f"session_ttl must be 1 to 60000 seconds, not {self.session_ttl!r}"
            )
        if len(self.client_id) != ID_SIZE:
            raise ValueError(
                f"a client id must be {ID_SIZE} bytes, not {self.client_id!r}"
            )


@dataclass(frozen=True, slots=True)
class SessionStatistics:
    """What a session has under way.

    Attributes:
        connected: Whether there is a connection now.
        in_flight: Commands without a reply, waits on the server included.
        unsettled: Commands not written yet and withdrawals not answered yet;
            what ``max_inflight`` bounds.
        held: Grants whose loss would be reported.
        tasks_waiting_to_send: Tasks for which there is no room or connection.
        connections: Connections made so far.
        strays: Replies that matched no request under way, or arrived on a connection
            that had been given up.
        round_trip: Seconds that the latest heartbeat took, or None.
        replica_set: The members and their leader; None for one server.
    """

    connected: bool
    in_flight: int
    unsettled: int
    held: int
    tasks_waiting_to_send: int
    connections: int
    strays: int
    round_trip: float | None
    replica_set: SetState | None = None
