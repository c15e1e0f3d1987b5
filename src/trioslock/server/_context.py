"""The server, as its connections and sessions see it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import NamedTuple, Protocol

from .._arguments import check_int, check_seconds


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """Bounds of a server; the engine has its own (``EngineLimits``).

    Attributes:
        connections: Open at once; one more is closed as soon as it is accepted.
        output_bytes: Kept for a peer that does not read; with more it is cut.
        send_seconds: Time that a peer may take to read 64 KiB before it is cut.
        first_frame_seconds: Time that the first command may be incomplete.
        waiting_input_bytes: Read ahead while a text command waits.
        drain_seconds: Time that connections go on after a shutdown has begun.
    """

    connections: int = 10_000
    output_bytes: int = 64 * 1_048_576
    send_seconds: float = 30.0
    first_frame_seconds: float = 10.0
    waiting_input_bytes: int = 65_536
    drain_seconds: float = 1.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name.endswith("_seconds"):
                check_seconds(value, field.name, zero=True, forever=True)
            else:
                check_int(value, field.name, 0, sys.maxsize)


class PeerInfo(NamedTuple):
    """The other end of a connection.

    Attributes:
        serial: Number of the connection, counted from 1.
        address: ``host:port``.
        descriptor: File number of the socket; -1 without one.
    """

    serial: int
    address: str
    descriptor: int


class ClientView(NamedTuple):
    """One connection, as ``CLIENT LIST`` shows it."""

    id: int
    address: str
    descriptor: int
    dialect: str
    age: int
    client_id: bytes
    commands: int


class ServerContext(Protocol):
    """What commands of the text dialect need of the server."""

    def info(self) -> Mapping[str, Mapping[str, object]]:
        """Return the sections of ``INFO`` that are about the process."""
        ...

    def config(self) -> Mapping[str, str]:
        """Return what ``CONFIG GET`` shows, names in upper case."""
        ...

    def clients(self) -> Iterable[ClientView]:
        """Return all connections."""
        ...

    def kill(self, address: str) -> bool:
        """Close the connection from an address; return whether there was one."""
        ...

    def shutdown(self) -> bool:
        """Begin to end the server; return False where that is not allowed."""
        ...
