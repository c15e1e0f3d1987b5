"""Requests are cut right however their bytes arrive, and refused if malformed."""

from __future__ import annotations

import itertools
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triopoll.server.errors import HttpError
from triopoll.server.request_parser import (
    NEED_DATA,
    RequestHead,
    RequestReader,
)

HOST = b"Host: example\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
REFUSALS = {400, 405, 414, 431, 505}


def make_reader(max_head_bytes: int = 1024, max_headers: int = 10) -> RequestReader:
    return RequestReader(max_head_bytes, max_headers)


def read_request(data: bytes) -> RequestHead:
    reader = make_reader()
    reader.receive_data(data)
    request = reader.next_request()
    assert request is not NEED_DATA
    return request


Requests = list[tuple[str, bytes, bytes]]


def read_all(reader: RequestReader, pieces: list[bytes]) -> Requests:
    """Feed pieces; return (method, target, whole body) of each request."""
    requests: Requests = []
    current: RequestHead | None = None
    body = b""
    for data in pieces:
        reader.receive_data(data)
        while True:
            if current is None:
                request = reader.next_request()
                if request is NEED_DATA:
                    break
                current, body = request, b""
            piece = reader.next_body()
            if piece is NEED_DATA:
                break
            body += piece
            if reader.body_complete:
                requests.append((current.method, current.target, body))
                current = None
    return requests


def test_a_plain_request() -> None:
    """Method, target, version and headers come as ASGI wants them."""
    request = read_request(b"GET /a%20b?c=d HTTP/1.1\r\nHost: h\r\nX-Y:  z \r\n\r\n")
    assert request == RequestHead(
        method="GET",
        target=b"/a%20b?c=d",
        version="1.1",
        headers=[(b"host", b"h"), (b"x-y", b"z")],
        keep_alive=True,
        expects_continue=False,
        upgrades=b"",
    )


@pytest.mark.parametrize(
    ("version", "connection", "keep_alive"),
    [
        (b"1.1", b"", True),
        (b"1.1", b"Connection: close\r\n", False),
        (b"1.0", b"", False),
        (b"1.0", b"Connection: keep-alive\r\n", True),
    ],
)
def test_whether_the_connection_is_kept_alive(
    version: bytes, connection: bytes, keep_alive: bool
) -> None:
    """HTTP/1.1 keeps it by default, HTTP/1.0 does not."""
    request = read_request(
        b"GET / HTTP/" + version + b"\r\n" + HOST + connection + b"\r\n"
    )
    assert request.keep_alive is keep_alive


def test_an_upgrade_is_named_and_its_rest_kept() -> None:
    """What comes behind an upgrade belongs to the other protocol."""
    reader = make_reader()
    reader.receive_data(
        b"GET / HTTP/1.1\r\n"
        + HOST
        + b"Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n\r\nXY"
    )
    request = reader.next_request()
    assert request is not NEED_DATA
    assert request.upgrades == b"websocket"
    assert reader.buffered == 2
    assert reader.take_rest() == b"XY"
    assert reader.buffered == 0


@pytest.mark.parametrize(
    "host",
    [
        b"example",
        b"example.com:8000",
        b"127.0.0.1",
        b"[::1]:80",
        b"_under-score.example.",
        b"a%20b,c",
        b"example:",
    ],
)
def test_hosts(host: bytes) -> None:
    """Names, addresses and ports, as RFC 3986 has them."""
    request = read_request(b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")
    assert request.headers == [(b"host", host)]


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
@pytest.mark.parametrize(
    "host",
    [
        b"",
        b" ",
        b"a b",
        b"a/b",
        b"user@example",
        b"example:http",
        b"example:999999",
        b"::1",
        b"[::1",
        b"[example]",
        b"ex\xe4mple",
        b"http://example",
    ],
)
def test_hosts_that_are_none(host: bytes, version: bytes) -> None:
    """A Host header that names no host is refused, as RFC 9112 says."""
    data = b"GET / HTTP/" + version + b"\r\nHost: " + host + b"\r\n\r\n"
    with pytest.raises(HttpError, match="the name of a host") as caught:
        read_request(data)
    assert caught.value.status == 400


def test_http_1_0_needs_no_host() -> None:
    """The header came with HTTP/1.1."""
    assert read_request(b"GET / HTTP/1.0\r\n\r\n").headers == []


def test_headers_that_may_come_twice_are_one_list() -> None:
    """Connection is a list of tokens, however many headers it is written in."""
    request = read_request(
        b"GET / HTTP/1.1\r\n"
        + HOST
        + b"Connection: Upgrade\r\nUpgrade: h2c\r\nConnection: close\r\n\r\n"
    )
    assert request.upgrades == b"h2c"
    assert not request.keep_alive
    assert len(request.headers) == 4


def test_http_1_0_has_no_upgrades() -> None:
    """A server must ignore one, as RFC 9110 says."""
    request = read_request(
        b"GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
    )
    assert request.upgrades == b""


def test_a_hostile_head_is_refused_in_linear_time() -> None:
    """No form of head makes the expression try again and again."""
    reader = make_reader(max_head_bytes=2**16, max_headers=2**16)
    started = time.thread_time()
    for line in (b"a:" + b" " * 60_000, b"a:b\r\n" * 10_000, b"a" * 60_000):
        reader.receive_data(b"GET / HTTP/1.1\r\n" + line + b"\0\r\n\r\n")
        with pytest.raises(HttpError, match="malformed request"):
            reader.next_request()
    assert time.thread_time() - started < 1


def test_an_upgrade_header_alone_is_no_upgrade() -> None:
    """Without Connection: upgrade it is an ordinary request."""
    request = read_request(b"GET / HTTP/1.1\r\n" + HOST + b"Upgrade: websocket\r\n\r\n")
    assert request.upgrades == b""


def test_the_absolute_form_becomes_a_path() -> None:
    """A server must take the form that proxies get."""
    data = b"GET http://example:80/p?q HTTP/1.1\r\n" + HOST + b"\r\n"
    assert read_request(data).target == b"/p?q"
    data = b"GET http://example HTTP/1.1\r\n" + HOST + b"\r\n"
    assert read_request(data).target == b"/"
    assert read_request(b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n").target == b"*"


STREAM = (
    b"\r\nGET /1 HTTP/1.1\r\n" + HOST + b"\r\n"
    b"POST /2 HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n\r\nhello"
    b"PUT /3 HTTP/1.1\r\n" + HOST + b"Content-Length: 0\r\n\r\n"
    b"POST /4 HTTP/1.1\r\n"
    + HOST
    + b"Transfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nT: u\r\n\r\n"
)
STORY = [
    ("GET", b"/1", b""),
    ("POST", b"/2", b"hello"),
    ("PUT", b"/3", b""),
    ("POST", b"/4", b"abcde"),
]


def test_pipelined_requests_whole() -> None:
    """Four requests in one read are four requests."""
    assert read_all(make_reader(), [STREAM]) == STORY


def test_pipelined_requests_by_the_byte() -> None:
    """Four requests byte by byte are the same four requests."""
    pieces = [STREAM[i : i + 1] for i in range(len(STREAM))]
    assert read_all(make_reader(), pieces) == STORY


@given(st.lists(st.integers(1, len(STREAM) - 1), max_size=8))
def test_pipelined_requests_however_cut(cuts: list[int]) -> None:
    """Where the network cuts the bytes makes no difference."""
    edges = [0, *sorted(set(cuts)), len(STREAM)]
    pieces = [STREAM[a:b] for a, b in itertools.pairwise(edges)]
    assert read_all(make_reader(), pieces) == STORY


def test_bytes_behind_a_chunked_body_are_the_next_request() -> None:
    """They are not lost, although they came in the same read."""
    data = STREAM + b"GET /5 HTTP/1.1\r\n" + HOST + b"\r\n"
    assert read_all(make_reader(), [data]) == [*STORY, ("GET", b"/5", b"")]


def test_garbage_behind_a_chunked_body_spoils_only_what_follows() -> None:
    """The request that came whole is served; the garbage is refused by itself."""
    reader = make_reader()
    assert read_all(reader, [STREAM + b"\xff\xfe\0"]) == STORY
    reader.receive_data(b"\r\n\r\n")
    with pytest.raises(HttpError, match="malformed request"):
        reader.next_request()


@given(st.binary(max_size=300))
def test_garbage_is_refused_or_waited_for(data: bytes) -> None:
    """Any bytes give a request, BadRequest or NEED_DATA; nothing else happens."""
    reader = make_reader(max_head_bytes=200)
    reader.receive_data(data)
    try:
        reader.next_request()
    except HttpError as error:
        assert error.status in REFUSALS  # noqa: PT017  # or nothing is raised


@given(st.integers(0, 3), st.integers(0, len(STREAM) - 1), st.binary(max_size=6))
def test_damaged_requests_are_refused_or_waited_for(
    drop: int, place: int, insert: bytes
) -> None:
    """The same with bytes that are nearly right."""
    data = STREAM[:place] + insert + STREAM[place + drop :]
    try:
        read_all(make_reader(), [data])
    except HttpError as error:
        assert error.status in REFUSALS  # noqa: PT017  # or nothing is raised


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"garbage\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + HOST + b"\r\n", 400),
        (b"GET / HTTP/1.1\nHost: a\n\nGET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\n b\r\nX : y\r\n\r\n", 400),
        (b"GET /\xc3\xa9 HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"GET http:// HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X: a\0b\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\n" + HOST + b"\r\n", 505),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"GET / HTTP/0.9\r\n\r\n", 505),
        (b"CONNECT a:1 HTTP/1.1\r\n" + HOST + b"\r\n", 405),
        (b"GET / HTTP/1.1\r\n" + HOST + b"a: b\r\n" * 10 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 1100 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 1100, 431),
        (b"GET /" + b"x" * 1100 + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET /" + b"x" * 1100, 414),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\n" * 2 + b"\r\n", 400),
        (
            b"POST / HTTP/1.1\r\n"
            + HOST
            + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
        ),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: gzip\r\n\r\n", 400),
        (
            b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: gzip,chunked\r\n\r\n",
            400,
        ),
        (b"POST / HTTP/1.1\r\n" + HOST + CHUNKED * 2 + b"\r\n", 400),
        (b"POST / HTTP/1.0\r\n" + HOST + CHUNKED + b"\r\n", 400),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1 2\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 0x1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: \r\n\r\n", 400),
        (
            b"POST / HTTP/1.1\r\n"
            + HOST
            + b"Content-Length: "
            + b"9" * 17
            + b"\r\n\r\n",
            400,
        ),
        (b"GET  / HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"get / HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"GET / RTSP/1.0\r\n" + HOST + b"\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X:a\r\n b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X:a\nY:b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X:a\rY:b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + b": a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X\xe9: a\r\n\r\n", 400),
    ],
)
def test_what_is_refused(head: bytes, status: int) -> None:
    """Each broken head has its status; smuggling forms are among them."""
    reader = make_reader()
    reader.receive_data(head)
    with pytest.raises(HttpError) as caught:
        reader.next_request()
    assert caught.value.status == status


def test_continue_is_expected() -> None:
    """The header is understood in any case."""
    request = read_request(
        b"POST / HTTP/1.1\r\n"
        + HOST
        + b"Content-Length: 1\r\nExpect: 100-Continue\r\n\r\n"
    )
    assert request.expects_continue


@pytest.mark.parametrize(
    "body",
    [
        b"Content-Length: 3\r\n\r\nabc",
        b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    ],
)
def test_an_upgrade_with_a_body_is_read_to_its_end(body: bytes) -> None:
    """The body of an upgrade that is not taken up is not taken for a request."""
    start = b"POST / HTTP/1.1\r\n" + HOST + b"Connection: upgrade\r\nUpgrade: h2c\r\n"
    after = b"GET /next HTTP/1.1\r\n" + HOST + b"\r\n"
    story = [("POST", b"/", b"abc"), ("GET", b"/next", b"")]
    data = start + body + after
    assert read_all(make_reader(), [start + body, after]) == story
    assert read_all(make_reader(), [data]) == story


def test_an_upgrade_behind_a_chunked_body() -> None:
    """It is a request like one that came alone."""
    upgrade = (
        b"GET / HTTP/1.1\r\n" + HOST + b"Connection: upgrade\r\nUpgrade: x\r\n\r\n"
    )
    assert read_all(make_reader(), [STREAM + upgrade]) == [*STORY, ("GET", b"/", b"")]


def test_the_framing_of_a_body_is_limited_like_a_head() -> None:
    """Extensions and trailers may be as long as a head, and no longer."""
    reader = make_reader(max_head_bytes=100)
    reader.receive_data(
        b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n1;"
    )
    reader.next_request()
    reader.receive_data(b"x" * 98)
    assert reader.next_body() is NEED_DATA
    reader.receive_data(b"x")
    with pytest.raises(HttpError) as caught:
        reader.next_body()
    assert caught.value.status == 431
