"""Addresses that can be listened on, and those that cannot."""

from __future__ import annotations

import contextlib
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from triopoll.server.binding import BACKLOG, BindError, listen, open_socket, url_of


@contextlib.contextmanager
def listening(bind: str) -> Iterator[socket.socket]:
    sock = open_socket(bind)
    try:
        assert not sock.getblocking()
        listen(sock)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        yield sock
    finally:
        sock.close()


def test_addresses(tmp_path: Path) -> None:
    """TCP of both kinds, all interfaces, a path, an inherited descriptor."""
    with listening("127.0.0.1:0") as sock:
        assert sock.getsockname()[0] == "127.0.0.1"
        with listening(f"fd:{os.dup(sock.fileno())}") as again:
            assert again.getsockname() == sock.getsockname()
    with listening("localhost:0"), listening(":0"):
        pass
    if socket.has_ipv6 and Path("/proc/net/if_inet6").exists():
        with listening("[::1]:0") as sock:
            assert sock.family == socket.AF_INET6
    path = str(tmp_path / "sock")
    with listening(f"unix:{path}"):
        with pytest.raises(BindError, match="in use"):
            open_socket(f"unix:{path}")
    with listening(f"unix:{path}"):
        pass  # the file that a server left behind is taken over


def test_tcp_clients_are_refused_until_it_listens() -> None:
    """The address is taken all the same, with its port."""
    with open_socket("127.0.0.1:0") as sock:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(sock.getsockname(), 1)
        listen(sock)
        socket.create_connection(sock.getsockname(), 1).close()


def test_two_that_have_an_address_cannot_both_listen() -> None:
    """Neither listened when they were bound."""
    with open_socket("127.0.0.1:0") as sock:
        port = sock.getsockname()[1]
        with open_socket(f"127.0.0.1:{port}") as other:
            listen(sock)
            expected = f"cannot listen on 'http://127.0.0.1:{port}': Address already in"
            with pytest.raises(BindError, match=expected):
                listen(other)


def test_a_socket_file_is_listened_on_at_once(tmp_path: Path) -> None:
    """Otherwise another server would take it for one that is left behind."""
    path = str(tmp_path / "sock")
    with open_socket(f"unix:{path}"):
        with pytest.raises(BindError, match="in use"):
            open_socket(f"unix:{path}")


@pytest.mark.parametrize(
    "bind",
    ["", "8000", "127.0.0.1:", "127.0.0.1:http", "127.0.0.1:99999", "fd:x", "fd:999"],
)
def test_addresses_that_are_none(bind: str) -> None:
    """The message names the address."""
    with pytest.raises(BindError, match=re.escape(repr(bind))):
        open_socket(bind)


def test_a_file_that_is_no_socket_is_not_removed(tmp_path: Path) -> None:
    """Only a dead socket is taken over."""
    path = tmp_path / "precious"
    path.write_text("data")
    with pytest.raises(BindError, match="in use"):
        open_socket(f"unix:{path}")
    assert path.read_text() == "data"


def test_a_listening_socket_as_a_url(tmp_path: Path) -> None:
    """For the log: it can be pasted into a browser, or is the path."""
    with listening("127.0.0.1:0") as sock:
        assert url_of(sock) == f"http://127.0.0.1:{sock.getsockname()[1]}"
    path = str(tmp_path / "sock")
    with listening(f"unix:{path}") as sock:
        assert url_of(sock) == f"unix:{path}"
    if socket.has_ipv6 and Path("/proc/net/if_inet6").exists():
        with listening("[::1]:0") as sock:
            assert url_of(sock) == f"http://[::1]:{sock.getsockname()[1]}"


def test_the_reason_is_a_sentence() -> None:
    """Address and reason, without a number of the system's errors."""
    with listening("127.0.0.1:0") as sock:
        bind = f"127.0.0.1:{sock.getsockname()[1]}"
        with pytest.raises(BindError) as caught:
            open_socket(bind)
    assert str(caught.value) == f"cannot listen on {bind!r}: Address already in use"
    with pytest.raises(BindError, match="it is not HOST:PORT, unix:PATH or fd:NUMBER"):
        open_socket("8000")


def test_the_queue_is_long() -> None:
    """Thousands of clients may connect in one instant."""
    with listening("127.0.0.1:0") as sock:
        port = sock.getsockname()[1]
        with contextlib.ExitStack() as stack:
            for _ in range(min(BACKLOG, 300)):
                stack.enter_context(socket.create_connection(("127.0.0.1", port), 1))
