"""Two clients of one server, of which one can be cut off."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from trioslock import Client
from trioslock.server import open_server
from trioslock.testing import Network, open_network


@asynccontextmanager
async def open_two_sides() -> AsyncGenerator[tuple[Network, Client, Client]]:
    """Two clients of one server; only the first is behind the network."""
    async with (
        open_server(host=None) as server,
        open_network(server) as network,
        open_network(server) as quiet,
        network.open_client(client_id=b"a" * 16) as client,
        quiet.open_client(client_id=b"b" * 16) as other,
    ):
        yield network, client, other
