"""Servers for tests of code that uses trioslock, with network faults and own clocks.

Over memory streams, in the test's own trio run, so that a mock clock may jump::

    async def test_my_worker(autojump_clock):
        async with open_network() as network, network.open_client() as client:
            ...
            network.cut()

Over TCP, from a thread of the test process, for trio, asyncio and blocking code and
for other processes::

    def test_my_script():
        with open_slock_server() as server:
            subprocess.run(["my-script", server.url], check=True)

With pytest, both are fixtures: ``slock_network`` and ``slock_server``.
"""

from __future__ import annotations

from ._connections import Claims, Connections
from ._faults import FaultyStream
from ._in_thread import InThread, open_in_thread
from ._network import Network, open_network
from ._slock_server import SlockServer, open_slock_server

__all__ = [
    "Claims",
    "Connections",
    "FaultyStream",
    "InThread",
    "Network",
    "SlockServer",
    "open_in_thread",
    "open_network",
    "open_slock_server",
]
