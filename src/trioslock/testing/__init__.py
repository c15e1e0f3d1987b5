"""A server without sockets, with network faults, for tests of code that uses trioslock.

::

    async def test_my_worker(autojump_clock):
        async with open_network() as network, network.open_client() as client:
            ...
            network.cut()

Everything runs over memory streams in one trio run, so a mock clock may jump.
"""

from __future__ import annotations

from ._faults import FaultyStream
from ._network import Network, open_network

__all__ = ["FaultyStream", "Network", "open_network"]
