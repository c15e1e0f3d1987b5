"""Bytes that are nearly right, by a seed, at a server's port.

By hand, against a running server::

    python -m tests.triopoll.server.fuzz 8000 100000 [SEED]
"""

from __future__ import annotations

import itertools
import os
import random
import socket
import sys
from collections.abc import Callable

from wsproto import ConnectionType
from wsproto.connection import Connection
from wsproto.events import BytesMessage, CloseConnection, Ping, TextMessage

_HEAD = b"Host: h\r\nAccept: */*\r\n"
_REQUESTS = [
    b"GET /hello HTTP/1.1\r\n" + _HEAD + b"\r\n",
    b"GET /park HTTP/1.1\r\n" + _HEAD + b"\r\n",
    b"HEAD / HTTP/1.0\r\n\r\n",
    b"POST /echo HTTP/1.1\r\n" + _HEAD + b"Content-Length: 10\r\n\r\n0123456789",
    b"POST /echo HTTP/1.1\r\n"
    + _HEAD
    + b"Transfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nT: x\r\n\r\n",
    b"POST /echo HTTP/1.1\r\n"
    + _HEAD
    + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
    b"OPTIONS * HTTP/1.1\r\n" + _HEAD + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0",
]
_UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
_SPICE = [b"\0", b"\r\n", b"\r\n\r\n", b"\n", b":", b" ", b"\xff", b"%", b"\x80" * 9]


def run_fuzz(port: int, *, count: int, seed: int) -> None:
    """Open `count` connections, one after the other, and misbehave on each."""
    rng = random.Random(seed)
    for _ in range(count):
        with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
            _misbehave(rng, sock)


def _misbehave(rng: random.Random, sock: socket.socket) -> None:
    data = _damage(rng, rng.choice(_MAKERS)(rng))
    try:
        for piece in _cut(rng, data):
            sock.sendall(piece)
        if rng.random() < 0.5:
            sock.settimeout(0.002)
            sock.recv(4096)
        if rng.random() < 0.3:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    except (TimeoutError, ConnectionError):
        pass  # the server has had enough, as it may


def _make_http(rng: random.Random) -> bytes:
    return b"".join(rng.choices(_REQUESTS, k=rng.randint(1, 4)))


def _make_websocket(rng: random.Random) -> bytes:
    frames = Connection(ConnectionType.CLIENT)
    data = _UPGRADE
    for _ in range(rng.randint(0, 6)):
        size = rng.choice([0, 1, 125, 126, 4000, 70_000])
        event = rng.choice(
            [
                TextMessage("x" * size),
                BytesMessage(b"\xff" * size, message_finished=True),
                Ping(b"x" * min(size, 125)),
            ]
        )
        data += frames.send(event)
    if rng.random() < 0.5:
        data += frames.send(CloseConnection(code=1000, reason="x"))
    return data


def _make_noise(rng: random.Random) -> bytes:
    return rng.randbytes(rng.choice([1, 10, 1000, 20_000]))


_MAKERS: list[Callable[[random.Random], bytes]] = [
    _make_http,
    _make_http,
    _make_websocket,
    _make_noise,
]


def _damage(rng: random.Random, data: bytes) -> bytes:
    for _ in range(rng.randint(0, 4)):
        place = rng.randrange(len(data) + 1)
        match rng.randrange(4):
            case 0:
                data = data[:place] + rng.choice(_SPICE) + data[place:]
            case 1:
                data = data[:place] + data[place + rng.randint(1, 8) :]
            case 2:
                data = data[:place] + rng.randbytes(1) + data[place + 1 :]
            case _:
                data = data[:place] or b"\0"
    return data


def _cut(rng: random.Random, data: bytes) -> list[bytes]:
    places = sorted(rng.randrange(len(data) + 1) for _ in range(rng.choice([0, 0, 2])))
    edges = [0, *places, len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges)]


if __name__ == "__main__":
    port, count, *seed = (int(text) for text in sys.argv[1:])
    used = seed[0] if seed else int.from_bytes(os.urandom(4))
    print("seed", used)
    run_fuzz(port, count=count, seed=used)
