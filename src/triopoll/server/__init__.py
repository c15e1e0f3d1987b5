"""A lean HTTP/1.1 and websocket server for ASGI applications on trio.

It exists because a long poll asks for what a general server does not give: a parked
request that costs one task and little memory, connections of which none can hurt
another, and a drain that answers everyone before the process ends. It speaks no TLS
and no HTTP/2; a proxy in front does.
"""

# General layout: bytes in `requests` and `responses`, one socket in `wire`, one
# request in `exchange` or `websocket`, one client in `connection`, one process in
# `worker` with `lifespan` and `binding`, several processes in `supervisor`.

from triopoll.asgi.types import ASGIApp

from .binding import BindError, open_socket
from .config import ServerSettings
from .lifespan import LifespanError, StartupFailed
from .server import HttpServer, serve
from .supervisor import supervise

__all__ = [
    "ASGIApp",
    "BindError",
    "LifespanError",
    "HttpServer",
    "ServerSettings",
    "StartupFailed",
    "open_socket",
    "serve",
    "supervise",
]
