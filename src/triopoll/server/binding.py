"""Listening sockets from the addresses that people type."""

from __future__ import annotations

import os
import socket
import stat

__all__ = ["BACKLOG", "BindError", "open_socket"]

BACKLOG = 4096


class BindError(Exception):
    """An address cannot be listened on; the message says which, and why."""


def open_socket(bind: str) -> socket.socket:
    """Return a listening socket.

    Args:
        bind: ``HOST:PORT``, ``[IPV6]:PORT``, ``unix:PATH``, or ``fd:NUMBER`` for one
            that this process has inherited (systemd's first is ``fd:3``).

    Raises:
        BindError: `bind` has none of these forms, or the system refuses.
    """
    try:
        kind, _, rest = bind.partition(":")
        if kind == "fd":
            sock = socket.socket(fileno=int(rest))
        elif kind == "unix":
            sock = _bind_unix(rest)
        else:
            sock = _bind_tcp(bind)
        sock.listen(BACKLOG)
    except (OSError, ValueError) as error:
        raise BindError(f"cannot listen on {bind!r}: {error}") from error
    sock.setblocking(False)
    return sock


def _bind_tcp(bind: str) -> socket.socket:
    host, colon, port = bind.rpartition(":")
    # getaddrinfo would take a greater port, and drop its upper bits.
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise ValueError("it is not HOST:PORT, unix:PATH or fd:NUMBER")
    host = host.removeprefix("[").removesuffix("]")
    family, kind, protocol, _, address = socket.getaddrinfo(
        host or None, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
    except OSError:
        sock.close()
        raise
    return sock


def _bind_unix(path: str) -> socket.socket:
    # A socket file outlives its server; only a dead one may be taken over.
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if os.path.exists(path) and stat.S_ISSOCK(os.stat(path).st_mode):
            _remove_if_dead(path)
        sock.bind(path)
    except OSError:
        sock.close()
        raise
    return sock


def _remove_if_dead(path: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
