"""``trioslock info``: whether a server answers, its version, role and databases."""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass
from functools import partial

import trio

from .._errors import RemoteProtocolError
from ..client import open_client, parse_url
from ..link import reason_of
from ..primitives import DatabaseState
from ..transport import NETWORK_ERRORS
from ._common import Commands, add_url, run
from ._output import add_json, address_text, show, show_json
from ._snapshot import databases, gather, replica_set

__all__ = ["add_commands"]

_TIMEOUT = 5.0
_MOST_BYTES = 1 << 16
_REQUEST = b"*1\r\n$4\r\nINFO\r\n"
_SHOWN = ("version", "role", "state", "uptime_in_seconds", "connected_clients")


@dataclass(frozen=True, slots=True)
class Node:
    """What one server says of itself; ``error`` if it cannot be asked."""

    address: str
    facts: dict[str, str]
    error: str | None = None


def add_commands(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add ``info``."""
    parser = commands.add_parser(
        "info",
        help="show whether a server answers, its version, role and databases",
        description="Ask a server, or each member of a replica set, how it is. "
        "The exit code is 74 if there is no answer.",
    )
    add_url(parser)
    add_json(parser)
    parser.set_defaults(run=partial(run, _run))


async def _run(options: argparse.Namespace) -> int:
    addresses = {(a.host, a.port): None for a in parse_url(options.url).addresses}
    several = len(addresses) > 1
    async with open_client(options.url) as client:
        ping = await client.ping()
        state = await replica_set(client) if several else None
        addresses |= {m.address: None for m in (state.members if state else ())}
        found = await databases(client)
        nodes = await gather(ask_node, list(addresses))
        if options.json:
            show_json(
                {
                    "url": options.url,
                    "ping": ping,
                    "nodes": [asdict(node) for node in nodes],
                    "leader": address_text(state.leader)
                    if state and state.leader
                    else None,
                    "databases": {str(n): asdict(one) for n, one in found.items()},
                }
            )
        else:
            _show(options.url, ping, nodes, found)
    return 0


def _show(
    url: str, ping: float, nodes: list[Node], found: dict[int, DatabaseState]
) -> None:
    show(f"{url} answers in {ping * 1000:.1f} ms")
    for node in nodes:
        facts = (f"{name.replace('_', ' ')} {node.facts[name]}" for name in node.facts)
        show(f"{node.address}: {node.error or ', '.join(facts)}")
    for number, one in found.items():
        show(
            f"database {number}: {one.keys} keys, {one.held} held, "
            f"{one.waiting} waiting, {one.grants} grants since its start"
        )
    if not found:
        show("no database is in use")


async def ask_node(address: tuple[str, int]) -> Node:
    """Ask one server for INFO in the text dialect.

    Cancellation:
        The answer is dropped.
    """
    facts: dict[str, str] = {}
    error: str | None = "no answer"
    with trio.move_on_after(_TIMEOUT):
        try:
            facts, error = _facts(await _info(*address)), None
        except (*NETWORK_ERRORS, RemoteProtocolError, UnicodeError) as caught:
            error = reason_of(caught)
    return Node(address_text(address), facts, error)


async def _info(host: str, port: int) -> bytes:
    """Return the bulk string that answers INFO."""
    stream = await trio.open_tcp_stream(host, port)
    async with stream:
        await stream.send_all(_REQUEST)
        buffer = b""
        while True:
            head, end, rest = buffer.partition(b"\r\n")
            if end and len(rest) >= _length(head):
                return rest[: _length(head)]
            part = await stream.receive_some(_MOST_BYTES)
            buffer += part
            if not part or len(buffer) > _MOST_BYTES:
                raise RemoteProtocolError("the answer to INFO is cut off or too large")


def _length(head: bytes) -> int:
    mark, digits = head[:1], head[1:]
    if mark != b"$" or not digits.isdigit() or len(digits) > 5:
        raise RemoteProtocolError("the answer to INFO is not that of a slock server")
    return int(digits)


def _facts(text: bytes) -> dict[str, str]:
    lines = text.decode("utf-8", "replace").splitlines()
    pairs = dict(line.split(":", 1) for line in lines if ":" in line)
    return {name: pairs[name] for name in _SHOWN if pairs.get(name)}
