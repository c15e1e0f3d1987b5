"""An HTTP/1.1 and websocket server for ASGI applications on trio.

It exists because long polling needs what a general server does not have: a parked
request that costs one task and little memory, connections that cannot hurt each other,
and a drain that answers every client before the process ends. It does not speak TLS or
HTTP/2; a proxy in front of it does.
"""

# General layout: bytes in `request_parser`, `chunked_body` and `response_writer`; one
# socket in `stream`; one request in `http_cycle` or `websocket_cycle`; one client in
# `connection`; one process in `server`, with `lifespan`, `binding`, `accepting` and
# `disconnects`; several processes in `supervisor`.

from triopoll.asgi.types import ASGIApp

from .binding import BindError, listen, open_socket
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
    "listen",
    "open_socket",
    "serve",
    "supervise",
]
