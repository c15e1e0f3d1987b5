"""A Redis Cluster: each command goes to the primary that has the slot of its key.

A pipeline is cut into one for each node. All of them are sent before the first reply is
read, so the nodes work at the same time. Which node has which slots is asked when it is
not known, when a node says that it has lost one (MOVED), and when one cannot be used.

A command is sent again where Redis has said that it was not executed (MOVED, ASK,
TRYAGAIN, CLUSTERDOWN, READONLY), or where it was never sent; else its caller gets the
error.

Source: Redis Cluster specification, "Client and server interactions".
"""

# Redis-py is typed in part only:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import redis

from ._node import Command, Node, address_of
from ._refusals import code_of
from ._slots import SLOTS, slot_of
from ._state import BackendState, BackendStatus
from ._url import RedisAddress

__all__ = ["ClusterNodes", "SlotRange", "ask_slots"]

_Host: TypeAlias = tuple[str, int]
SlotRange: TypeAlias = tuple[int, int, list[_Host]]
"""First slot, last slot, and who has them: the primary, then its replicas."""

_log = logging.getLogger("triopoll.store")

# How often a command is sent that nodes send on to each other or cannot execute yet.
_MAX_SENDINGS = 5
# Seconds before it is sent again.
_AGAIN = 0.02
# Seconds from one question for the slots to the next, and for its answer: a node that
# hangs keeps the commands for all others waiting.
_ASK_PERIOD = 0.25
_ASK_LIMIT = 1.0
_ASKING: Command = ("ASKING",)
_NOT_EXECUTED = ("MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN", "READONLY")


class _NoPrimary(redis.ConnectionError):
    """No node has the slot of a key, as far as is known."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.status_code = "CLUSTERDOWN"


@dataclass(slots=True)
class _Part:
    """What one node is sent: some commands of a pipeline, and their places in it."""

    node: Node
    places: list[int] = field(default_factory=list)
    commands: list[Command] = field(default_factory=list)

    def add(self, place: int, command: Command, *, is_asking: bool) -> None:
        self.places.append(place)
        self.commands.extend([_ASKING, command] if is_asking else [command])

    def replies(self) -> Iterator[tuple[int, Any]]:
        """Return the place and the reply of each command but ASKING."""
        pairs = zip(self.commands, self.node.receive(), strict=True)
        replies = [reply for command, reply in pairs if command is not _ASKING]
        return zip(self.places, replies, strict=True)


class ClusterNodes:
    """The primaries of a cluster; an `Executor`."""

    def __init__(
        self, address: RedisAddress, probes: Sequence[str], closing: threading.Event
    ) -> None:
        """Connect to nothing yet; see `executor_for`."""
        self._address = address
        self._probes = {slot_of(probe): probe for probe in probes}
        self._closing = closing
        self._map = _SlotMap(address)
        self._nodes: dict[_Host, Node] = {}

    def execute(self, commands: Sequence[Command]) -> Sequence[Any]:
        """Return a reply or an exception for each command; see `Executor`."""
        replies: list[Any] = [None] * len(commands)
        # Places of commands to send; with the node that ASK has named, if one has.
        todo: dict[int, _Host | None] = dict.fromkeys(range(len(commands)))
        for sending in range(_MAX_SENDINGS):
            if sending and self._closing.wait(_AGAIN):
                break
            parts = self._parts(commands, todo, replies)
            for part in parts:
                part.node.send(part.commands)
            todo = {}
            for part in parts:
                for place, reply in part.replies():
                    replies[place] = reply
                    if isinstance(reply, Exception):
                        todo |= self._again(part.node, place, reply)
            if not todo:
                break
        return replies

    def close(self) -> None:
        """Close the connections; see `Executor`."""
        for node in self._nodes.values():
            node.disconnect()

    def status(self) -> list[BackendStatus]:
        """Return what is known of each primary; see `Executor`."""
        # The copy is one operation: the worker thread changes the table.
        return [node.status() for node in list(self._nodes.values())]

    def _parts(
        self,
        commands: Sequence[Command],
        todo: dict[int, _Host | None],
        replies: list[Any],
    ) -> list[_Part]:
        """Cut a pipeline by nodes; note the error of what cannot be sent to any."""
        parts: dict[_Host, _Part] = {}
        try:
            if self._map.refresh():
                self._forget_nodes()
            for place, named in todo.items():
                host = named or self._map.owner(slot_of(_key_of(commands[place])))
                part = parts.get(host)
                if part is None:
                    part = parts[host] = _Part(self._node(host))
                part.add(place, commands[place], is_asking=named is not None)
        except redis.RedisError as error:
            # One that has no owner means that the cluster does not serve: all wait.
            for place in todo:
                replies[place] = error
            return []
        return list(parts.values())

    def _again(
        self, node: Node, place: int, error: Exception
    ) -> dict[int, _Host | None]:
        """Return the place if its command shall be sent again, and to which node."""
        code = code_of(error)
        if code == "ASK":
            return {place: _redirection(error, node)[1]}
        if code == "MOVED":
            self._map.note(*_redirection(error, node))
        if code != "TRYAGAIN":
            is_reply = isinstance(error, redis.ResponseError)
            self._map.is_outdated |= code in _NOT_EXECUTED or not is_reply
        was_executed = code not in _NOT_EXECUTED and node.was_sent
        return {} if was_executed else {place: None}

    def _node(self, host: _Host) -> Node:
        node = self._nodes.get(host)
        if node is None:
            locator = _NodeLocator(self._address, host)
            probe = self._probes[self._map.first_slot(host, self._probes)]
            state = BackendState(_log, "Redis")
            node = Node(locator, state, probe, self._closing, is_in_cluster=True)
            self._nodes[host] = node
        return node

    def _forget_nodes(self) -> None:
        """Close the connections to nodes that have no slots any more."""
        for host in self._nodes.keys() - self._map.owners():
            node = self._nodes.pop(host)
            _log.warning("Redis at %s has no slots any more", node.address)
            node.disconnect()


class _SlotMap:
    """Which node has which slots, as a node has said.

    Attributes:
        is_outdated: It may be otherwise by now.
    """

    def __init__(self, address: RedisAddress) -> None:
        limit = min(_ASK_LIMIT, address.options["socket_timeout"])
        self.is_outdated = True
        self._address = address.with_limit(limit)
        self._owners: list[_Host | None] = [None] * SLOTS
        self._hosts: set[_Host] = set()
        self._state = BackendState(_log, "Redis Cluster")
        self._ask_at = 0.0

    def owner(self, slot: int) -> _Host:
        """Return the node that has a slot.

        Raises:
            redis.RedisError: None has it.
        """
        owner = self._owners[slot]
        if owner is None:
            self.is_outdated = True
            raise _NoPrimary(f"no node has slot {slot}")
        return owner

    def note(self, slot: int, host: _Host) -> None:
        """Note that a node has a slot; that node may be a new one."""
        self._owners[slot] = host
        self._hosts.add(host)

    def owners(self) -> set[_Host]:
        """Return all nodes that have slots."""
        return self._hosts

    def first_slot(self, host: _Host, slots: dict[int, str]) -> int:
        """Return the first of some slots that a node has; any if it has none."""
        mine = (slot for slot in slots if self._owners[slot] == host)
        return next(mine, next(iter(slots)))

    def refresh(self) -> bool:
        """Ask for the slots if they may have changed; return whether it was asked.

        Raises:
            redis.RedisError: No node has answered, and nothing is known.
        """
        if not self.is_outdated or time.monotonic() < self._ask_at:
            return False
        self._ask_at = time.monotonic() + _ASK_PERIOD
        errors: list[str] = []
        for host in dict.fromkeys((*self._hosts, *self._address.hosts)):
            try:
                self._fill_in(ask_slots(self._address, host))
            except (redis.RedisError, OSError) as error:
                errors.append(str(error) or type(error).__name__)
                continue
            self._state.serves("{}:{}".format(*host))
            return True
        return self._fail("; ".join(errors))

    def _fill_in(self, ranges: Sequence[SlotRange]) -> None:
        if not ranges:
            raise _NoPrimary("it knows of no slots")
        self._owners = [None] * SLOTS
        for first, last, (primary, *_) in ranges:
            self._owners[first : last + 1] = [primary] * (last + 1 - first)
        self._hosts = {hosts[0] for _, _, hosts in ranges}
        self.is_outdated = False

    def _fail(self, reasons: str) -> bool:
        where = ",".join("{}:{}".format(*host) for host in self._address.hosts)
        self._state.fails(where, "does not answer", reasons, "answers again")
        if self._hosts:
            return False
        raise redis.ConnectionError(reasons)


class _NodeLocator:
    """One node of a cluster, which stays where it is."""

    def __init__(self, address: RedisAddress, host: _Host) -> None:
        self._address = address
        self._host = host
        self.where = address_of(address.connection(*host))

    def connection(self) -> Any:
        return self._address.connection(*self._host)

    def has_moved(self, connection: Any) -> bool:
        return False


def ask_slots(address: RedisAddress, host: _Host) -> list[SlotRange]:
    """Ask a node of a cluster which nodes have which slots, over a new connection.

    Args:
        address: How to connect.
        host: The node.

    Raises:
        redis.RedisError: It does not answer, or refuses.
        OSError: The same.
    """
    connection = address.connection(*host)
    try:
        connection.connect()
        connection.send_command("CLUSTER", "SLOTS", check_health=False)
        ranges: list[Any] = connection.read_response()
    finally:
        connection.disconnect()
    # A node that has just started does not know yet, or does not know where it is.
    return [
        (first, last, [(n.decode() if n else host[0], int(p)) for n, p, *_ in nodes])
        for first, last, *nodes in ranges
    ]


def _key_of(command: Command) -> str | bytes:
    """Return the first key of a command; all of them lie in one slot."""
    return command[3 if command[0] in ("EVAL", "EVALSHA") else 1]


def _redirection(error: Exception, node: Node) -> tuple[int, _Host]:
    """Return slot and host of a redirection: ``[MOVED ]SLOT [HOST]:PORT``."""
    slot, address = str(error).split()[-2:]
    host, _, port = address.rpartition(":")
    # Without a host it is that of the node itself.
    return int(slot), (host or node.host, int(port))
