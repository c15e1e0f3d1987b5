"""Sockets from the addresses of ``--bind``, and back."""

# Addresses and buffers come from the standard library without a closer type:
# pyright: reportUnknownVariableType=false

from __future__ import annotations

import os
import socket
import stat

import trio

__all__ = ["BACKLOG", "BindError", "listen", "open_socket", "url_of"]

# Connections that the kernel accepts before the server does; Linux caps it at
# net.core.somaxconn, which is 4096 since Linux 5.4.
BACKLOG = 4096


class BindError(Exception):
    """An address cannot be listened on; the message says which one and why."""


def open_socket(bind: str) -> socket.socket:
    """Return a socket that has its address, and on which `listen` can be called.

    Until then TCP clients are refused, so a proxy sends them to another node. A socket
    file is listened on at once: without a listener another server may replace it. An
    inherited socket stays as it is.

    Args:
        bind: ``HOST:PORT``, ``[IPV6]:PORT``, ``unix:PATH``, or ``fd:NUMBER`` for a
            socket that this process has inherited (systemd's first is ``fd:3``).

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
    except (OSError, ValueError) as error:
        raise _refused(bind, error) from error
    sock.setblocking(False)
    return sock


def listen(sock: socket.socket) -> trio.SocketListener:
    """Let clients connect to a socket.

    Args:
        sock: From `open_socket`. The listener owns it.

    Raises:
        BindError: The system refuses: another program listens on the address by now.
    """
    try:
        sock.listen(BACKLOG)
    except OSError as error:
        raise _refused(url_of(sock), error) from error
    return trio.SocketListener(trio.socket.from_stdlib_socket(sock))


def url_of(sock: socket.socket | trio.socket.SocketType) -> str:
    """Return how a socket's address is written for people: a URL, or ``unix:PATH``."""
    address = sock.getsockname()
    if not isinstance(address, tuple):
        return f"unix:{address}"
    host, port = address[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _refused(address: str, error: Exception) -> BindError:
    reason = getattr(error, "strerror", None) or error
    return BindError(f"cannot listen on {address!r}: {reason}")


def _bind_tcp(bind: str) -> socket.socket:
    host, colon, port = bind.rpartition(":")
    # getaddrinfo takes a greater port without an error and drops its upper bits.
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
    # A socket file outlives its server. One on which nothing listens may be replaced;
    # anything else with this path may not.
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if os.path.exists(path) and stat.S_ISSOCK(os.stat(path).st_mode):
            _remove_if_dead(path)
        sock.bind(path)
        sock.listen(BACKLOG)
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
