"""Serve an engine on TCP, as a slock server does.

Use ``async with open_server(port=5658) as server``, or the command line
``python -m trioslock serve``.
"""

from __future__ import annotations

from ._context import ServerLimits
from ._server import DEFAULT_PORT, Server, ServerStatistics, open_server

__all__ = [
    "DEFAULT_PORT",
    "Server",
    "ServerLimits",
    "ServerStatistics",
    "open_server",
]
