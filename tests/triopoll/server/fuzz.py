"""Bytes that are nearly right, by a seed, at a server's port.

By hand, against a running server::

    python -m tests.triopoll.server.fuzz park|app 8000 100000 [SEED]

``park`` is for `park_app`, ``app`` for the service, with everything that it serves.
"""

from __future__ import annotations

import itertools
import os
import random
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from wsproto import ConnectionType
from wsproto.connection import Connection
from wsproto.events import BytesMessage, CloseConnection, Ping, TextMessage

_HEAD = b"Host: localhost\r\nAccept: */*\r\n"
_UPGRADE = (
    b"GET %b HTTP/1.1\r\nHost: localhost\r\n"
    b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"


@dataclass(frozen=True)
class Target:
    """What there is to be had from a server.

    Attributes:
        requests: Good ones.
        websockets: Paths.
        texts: Good frames, and such as are nearly good.
    """

    requests: Sequence[bytes]
    websockets: Sequence[bytes]
    texts: Sequence[str]


def _get(target: bytes, method: bytes = b"GET") -> bytes:
    return b"%b %b HTTP/1.1\r\n%b\r\n" % (method, target, _HEAD)


def _post(
    target: bytes, body: bytes, method: bytes = b"POST", headers: bytes = b""
) -> bytes:
    head = b"%b %b HTTP/1.1\r\n%b%bContent-Length: %d\r\n\r\n"
    return head % (method, target, _HEAD, headers, len(body)) + body


PARK = Target(
    requests=[
        _get(b"/hello"),
        _get(b"/park"),
        b"HEAD / HTTP/1.0\r\n\r\n",
        _post(b"/echo", b"0123456789"),
        b"POST /echo HTTP/1.1\r\n"
        + _HEAD
        + b"Transfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nT: x\r\n\r\n",
        b"POST /echo HTTP/1.1\r\n"
        + _HEAD
        + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
        b"OPTIONS * HTTP/1.1\r\n"
        + _HEAD
        + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
        _PREFACE,
    ],
    websockets=[b"/ws"],
    texts=[""],
)

_PLACE = "00000001.1764000000000001.0001"
_OFFSET = b"1764000000000001_0000000000000001"
_TEXT = b"Content-Type: text/plain\r\n"
_PRODUCER = b"Producer-Id: p\r\nProducer-Epoch: 0\r\nProducer-Seq: 0\r\n"
_FORK = b"Stream-Forked-From: /v1/stream/s/1\r\nStream-Fork-Sub-Offset: 1\r\n"
APP = Target(
    requests=[
        _get(b"/poll/event?event=a&timeout=60"),
        _get(b"/poll/event?event=a&timeout=0.01&wait_type=reset&default_type=set"),
        _get(b"/poll/event?key=a&timeout=0.01"),
        _get(b"/poll/message?event=b&timeout=60&session=s"),
        _get(b"/poll/message?event=b&timeout=0"),
        _get(b"/poll/message?key=b&timeout=0.01"),
        _get(b"/poll/group/message?key=c&client_id=1&msg_id=1&timeout=0.01"),
        _get(b"/poll/event/emit?event=a"),
        _get(b"/poll/group/message/create?key=c&msg_id=1"),
        _post(b"/poll/message/send?event=b", b'{"x":1}'),
        _post(b"/poll/message/send?key=b", b"text"),
        _post(b"/poll/group/message/send?key=c", b"[1,2]"),
        _get(b"/v1/messages?key=k&cursor=all&timeout=0.01&max=3"),
        _get(b"/v1/messages?key=k&timeout=60"),
        _get(b"/v1/messages?key=k&cursor=" + _PLACE.encode()),
        _get(b"/v1/wait?message=new:k&event=:a&group=17:g&timeout=0.01"),
        _get(b"/v1/wait?" + b"&".join(b"message=:k%d" % n for n in range(50))),
        _post(b"/v1/wait", b'{"items":[{"type":"group","key":"g"}],"timeout":60}'),
        _post(b"/v1/publish", b'{"key":"k","data":"hello","id":"7"}'),
        _post(
            b"/v1/publish",
            b'{"items":[{"key":"k","data_base64":"/w=="},{"type":"group","key":"g"},'
            b'{"type":"event","key":"a","ttl":1},{"type":"clear","key":"a"}]}',
        ),
        _post(b"/v1/stream/s/1", b"x", b"PUT", _TEXT + b"Stream-TTL: 60\r\n"),
        _post(b"/v1/stream/s/%2F1", b"x", b"PUT", b"Stream-Closed: true\r\n"),
        _post(b"/v1/stream/s/1-f", b"", b"PUT", _FORK + b"Stream-TTL: 1\r\n"),
        _post(b"/v1/stream/s/1", b"hello", headers=_TEXT + b"Stream-Seq: 1\r\n"),
        _post(b"/v1/stream/s/1", b"hello", headers=_TEXT + _PRODUCER),
        _post(
            b"/v1/stream/s/1", b"[1,2]", headers=b"Content-Type: application/json\r\n"
        ),
        _get(b"/v1/stream/s/1?offset=-1"),
        _get(b"/v1/stream/s/1?offset=" + _OFFSET + b"&live=long-poll&cursor=7"),
        _get(b"/v1/stream/s/1?offset=now&live=sse"),
        _get(b"/v1/stream/s/1?offset=-1&live=sse", b"HEAD"),
        _get(b"/v1/stream/log/k?offset=-1&live=sse"),
        _get(b"/v1/stream/s/1", b"DELETE"),
        _get(b"/v1/stream/__ds/../s//1", b"PUT"),
        _get(b"/livez"),
        _get(b"/readyz", b"HEAD"),
        _get(b"/metrics"),
        _get(b"/openapi.json"),
        _get(b"/v1/publish", b"OPTIONS"),
        _get(b"/nowhere/%00/..//%ff"),
        _PREFACE,
    ],
    websockets=[b"/v1/ws", b"/poll/ws?event=k", b"/poll/ws?event=k&cursor=all"],
    texts=[
        '{"type":"subscribe","messages":[{"key":"k","cursor":"all","max":1}]}',
        '{"type":"subscribe","events":[{"key":"a"}],"groups":[{"key":"g"}]}',
        '{"type":"ack","key":"k","cursor":"00000001.1764000000000001.0001"}',
        '{"type":"ack","group":"g","version":9}',
        '{"type":"unsubscribe","messages":["k"],"groups":["g"]}',
        '{"type":"ping"}',
        '{"type":"pong"}',
        _PLACE,
        "[" * 60_000,
        "",
    ],
)
_SPICE = [b"\0", b"\r\n", b"\r\n\r\n", b"\n", b":", b" ", b"\xff", b"%", b"\x80" * 9]


def run_fuzz(port: int, *, count: int, seed: int, target: Target = PARK) -> None:
    """Open `count` connections, one after the other, and misbehave on each."""
    rng = random.Random(seed)
    for _ in range(count):
        with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
            _misbehave(rng, sock, target)


def _misbehave(rng: random.Random, sock: socket.socket, target: Target) -> None:
    data = _damage(rng, rng.choice(_MAKERS)(rng, target))
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


def _make_http(rng: random.Random, target: Target) -> bytes:
    return b"".join(rng.choices(target.requests, k=rng.randint(1, 4)))


def _make_websocket(rng: random.Random, target: Target) -> bytes:
    frames = Connection(ConnectionType.CLIENT)
    data = _UPGRADE % rng.choice(target.websockets)
    for _ in range(rng.randint(0, 6)):
        size = rng.choice([0, 1, 125, 126, 4000, 70_000])
        event = rng.choice(
            [
                TextMessage("x" * size),
                TextMessage(rng.choice(target.texts)),
                BytesMessage(b"\xff" * size, message_finished=True),
                Ping(b"x" * min(size, 125)),
            ]
        )
        data += frames.send(event)
    if rng.random() < 0.5:
        data += frames.send(CloseConnection(code=1000, reason="x"))
    return data


def _make_noise(rng: random.Random, target: Target) -> bytes:
    return rng.randbytes(rng.choice([1, 10, 1000, 20_000]))


_MAKERS: list[Callable[[random.Random, Target], bytes]] = [
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
    name, port, count, *seed = sys.argv[1:]
    used = int(seed[0]) if seed else int.from_bytes(os.urandom(4))
    print("seed", used)
    target = {"park": PARK, "app": APP}[name]
    run_fuzz(int(port), count=int(count), seed=used, target=target)
