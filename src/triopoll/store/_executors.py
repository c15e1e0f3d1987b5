"""How a pipeline reaches Redis, wherever that is: one server, Sentinels, or a cluster.

An executor is an object that blocks: commands in, a reply or an exception for each. It
is called by one thread only, and never sends a command twice that Redis may have
executed.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from typing import Any, Protocol

from ._cluster import ClusterNodes
from ._node import Command, Node, address_of
from ._sentinel import SentinelLocator
from ._state import BackendState, BackendStatus
from ._url import RedisAddress

__all__ = ["Command", "Executor", "executor_for"]

_log = logging.getLogger("triopoll.store")


class Executor(Protocol):
    """Send commands, return what came of each."""

    def execute(self, commands: Sequence[Command]) -> Sequence[Any]:
        """Return a reply or an exception for each command, and raise nothing."""
        ...

    def close(self) -> None:
        """Close the connections; nothing is executed afterwards."""
        ...

    def status(self) -> list[BackendStatus]:
        """Return what is known of each server; called from another thread."""
        ...


def executor_for(
    address: RedisAddress, probes: Sequence[str], closing: threading.Event
) -> Executor:
    """Prepare for the Redis of an address, without connecting.

    Args:
        address: Where Redis is.
        probes: Keys that never exist, for checks; in a cluster, spread over all slots.
        closing: Set once no attempt to connect is to be waited for any more.
    """
    if address.kind == "cluster":
        return ClusterNodes(address, probes, closing)
    is_one = address.kind == "server"
    locator = _FixedLocator(address) if is_one else SentinelLocator(address)
    return _OneServer(Node(locator, BackendState(_log, "Redis"), probes[0], closing))


class _OneServer:
    """A single Redis, or the primary that Sentinels name."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def execute(self, commands: Sequence[Command]) -> Sequence[Any]:
        return self._node.execute(commands)

    def close(self) -> None:
        self._node.disconnect()

    def status(self) -> list[BackendStatus]:
        return [self._node.status()]


class _FixedLocator:
    """The server that the URL names; its name is resolved for each connection."""

    def __init__(self, address: RedisAddress) -> None:
        self._address = address
        self.where = address_of(address.connection())

    def connection(self) -> Any:
        return self._address.connection()

    def has_moved(self, connection: Any) -> bool:
        return False
