"""The server, as its sessions see it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol


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
