"""What a session needs from outside: an engine to speak to, and a server around it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol

from ..engine import Engine
from ..protocol import Command


class EnginePort(Protocol):
    """A session's own door to the engine; ``trioslock.host.HostPeer`` is one.

    Results come back through the session's ``deliver``, before ``submit`` returns
    where the engine answers at once.
    """

    @property
    def engine(self) -> Engine:
        """The engine, for reading."""
        ...

    def now(self) -> float:
        """Return the time on the engine's clock."""
        ...

    def submit(self, command: Command, *, settle: bool = True) -> None:
        """Give the engine a command."""
        ...

    def flush_database(self, db: int) -> None:
        """End every hold and wait of a database."""
        ...


class ClientView(NamedTuple):
    """One connection, as ``CLIENT LIST`` shows it."""

    id: int
    address: str
    descriptor: int
    dialect: str
    age: int
    client_id: bytes
    commands: int


class Surroundings(Protocol):
    """The server around a session, for what the text dialect tells and asks of it."""

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
