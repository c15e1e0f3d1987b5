"""Responses to bytes: framed by their length, and never split by a header."""

from __future__ import annotations

import re
from typing import Any

import pytest

from triopoll.server import response_writer as module
from triopoll.server.response_writer import (
    ResponseWriter,
    plain_response,
    switching_protocols,
)

TEXT = [(b"content-type", b"text/plain")]


def make_writer(
    method: str = "GET", version: str = "1.1", *, keep_alive: bool = True
) -> ResponseWriter:
    return ResponseWriter(method, version, keep_alive=keep_alive)


def without_date(data: bytes) -> bytes:
    assert b"date: " in data
    return re.sub(rb"date: [^\r]+ GMT\r\n", b"", data)


def test_one_piece_is_one_write_with_its_length() -> None:
    """A short answer leaves whole."""
    writer = make_writer()
    assert not writer.opened
    writer.start(200, TEXT)
    assert writer.opened
    assert not writer.started
    data = writer.data(b"hello", more=False)
    assert without_date(data) == (
        b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 5\r\n\r\nhello"
    )
    assert writer.complete
    assert writer.keep_alive


def test_unknown_length_is_chunked() -> None:
    """HTTP/1.1 gets chunks; an empty piece is none of them."""
    writer = make_writer()
    writer.start(200, TEXT)
    assert b"transfer-encoding: chunked\r\n" in writer.data(b"", more=True)
    assert writer.data(b"x" * 17, more=True) == b"11\r\n" + b"x" * 17 + b"\r\n"
    assert writer.data(b"", more=True) == b""
    assert writer.data(b"y", more=False) == b"1\r\ny\r\n0\r\n\r\n"
    assert writer.keep_alive


def test_unknown_length_ends_an_old_connection() -> None:
    """HTTP/1.0 knows no chunks: the end of the connection is the end of the body."""
    writer = make_writer(version="1.0")
    writer.start(200, TEXT)
    data = writer.data(b"x", more=True)
    assert without_date(data).endswith(b"connection: close\r\n\r\nx")
    assert writer.data(b"", more=False) == b""
    assert not writer.keep_alive


def test_an_old_client_learns_that_the_connection_stays_open() -> None:
    """HTTP/1.0 with keep-alive gets it confirmed."""
    writer = make_writer(version="1.0")
    writer.start(200, TEXT)
    assert b"connection: keep-alive\r\n" in writer.data(b"x", more=False)


def test_a_known_length_needs_no_last_chunk() -> None:
    """Quart sends the body with more to come, then an empty end."""
    writer = make_writer()
    writer.start(200, [(b"Content-Length", b"5")])
    assert writer.data(b"hello", more=True).endswith(b"\r\n\r\nhello")
    assert not writer.complete
    assert writer.data(b"", more=False) == b""
    assert writer.complete


@pytest.mark.parametrize(
    ("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)]
)
def test_answers_without_a_body(method: str, status: int) -> None:
    """HEAD, 204 and 304 have headers alone."""
    writer = make_writer(method)
    writer.start(status, TEXT)
    data = writer.data(b"hello", more=False)
    assert data.endswith(b"\r\n\r\n")
    assert b"chunked" not in data
    assert b"content-length" not in data


def test_head_keeps_the_length_of_the_answer_to_get() -> None:
    """HEAD answers with the Content-Length it was given."""
    writer = make_writer("HEAD")
    writer.start(200, [(b"content-length", b"1000")])
    data = writer.data(b"", more=False)
    assert b"content-length: 1000\r\n" in data


def test_the_application_may_end_the_connection() -> None:
    """Connection: close is honoured; other framing headers are dropped."""
    writer = make_writer()
    writer.start(
        200, [(b"Connection", b"close"), (b"Transfer-Encoding", b"x"), (b"a", b"b")]
    )
    data = writer.data(b"", more=False)
    assert b"connection: close\r\n" in data
    assert b"ransfer-" not in data
    assert not writer.keep_alive


def test_a_date_of_the_application_is_kept() -> None:
    """There is one Date header."""
    writer = make_writer()
    writer.start(200, [(b"Date", b"today")])
    assert writer.data(b"", more=False).lower().count(b"date: ") == 1


def test_an_unknown_status_has_an_empty_phrase() -> None:
    """599 has no phrase in the registry, and is allowed."""
    writer = make_writer()
    writer.start(599, [])
    assert writer.data(b"", more=False).startswith(b"HTTP/1.1 599 \r\n")


@pytest.mark.parametrize(
    "header",
    [
        (b"x", b"a\r\nset-cookie: b"),
        (b"x", b"a\nb"),
        (b"x", b"a\0"),
        (b"x\r\ny", b"a"),
        (b"", b"a"),
        (b"x y", b"a"),
        (b"x:y", b"a"),
    ],
)
def test_a_header_cannot_split_the_response(header: tuple[bytes, bytes]) -> None:
    """Whatever an application passes on, one header stays one header."""
    with pytest.raises(RuntimeError, match="header"):
        make_writer().start(200, [header])
    with pytest.raises(RuntimeError, match="header"):
        switching_protocols(b"websocket", [header])


@pytest.mark.parametrize("status", [100, 199, 600])
def test_a_status_must_be_final(status: int) -> None:
    """Informational statuses are not a response."""
    with pytest.raises(RuntimeError, match="status"):
        make_writer().start(status, [])


def test_misuse_is_a_sentence() -> None:
    """Twice started, body first, body after the end."""
    writer = make_writer()
    with pytest.raises(RuntimeError, match="before its start"):
        writer.data(b"", more=False)
    writer.start(200, [])
    with pytest.raises(RuntimeError, match="started already"):
        writer.start(200, [])
    writer.data(b"", more=False)
    with pytest.raises(RuntimeError, match="complete"):
        writer.data(b"", more=False)


@pytest.mark.parametrize(
    ("body", "more"), [(b"toolong", False), (b"toolong", True), (b"x", False)]
)
def test_the_body_has_the_length_it_promised(body: bytes, more: bool) -> None:
    """Longer or shorter than Content-Length would shift the next answer."""
    writer = make_writer()
    writer.start(200, [(b"content-length", b"5")])
    with pytest.raises(RuntimeError, match="Content-Length is 5"):
        writer.data(body, more=more)


def test_plain_response_is_whole() -> None:
    """What the server itself answers ends the connection."""
    assert without_date(plain_response(431, "too large")) == (
        b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
        b"content-type: text/plain; charset=utf-8\r\n"
        b"content-length: 10\r\nconnection: close\r\n\r\ntoo large\n"
    )


def test_switching_protocols() -> None:
    """The head of a 101 has no body and no length."""
    assert switching_protocols(b"websocket", [(b"a", b"b")]) == (
        b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n"
        b"upgrade: websocket\r\na: b\r\n\r\n"
    )


def test_header_fields_are_kept_if_they_are_short_and_for_all() -> None:
    """And so many of them; what they make is the same from the cache."""
    module._cached_fields.clear()

    def head_of(*headers: tuple[bytes, bytes]) -> bytes:
        heads = set()
        for _ in range(2):
            writer = ResponseWriter("GET", "1.1", keep_alive=True)
            writer.start(
                200, [*headers, (b"date", b"today"), (b"content-length", b"1")]
            )
            heads.add(writer.data(b"x", more=False))
        (head,) = heads
        return head

    assert b"a: b\r\n" in head_of((b"a", b"b"))
    assert len(module._cached_fields) == 1
    assert b"Set-Cookie: secret" in head_of((b"Set-Cookie", b"secret"))
    assert b"connection: close" in head_of((b"connection", b"close"))
    head_of((b"a", b"b" * 501))
    head_of((b"connection", b"b" * 501))
    assert len(module._cached_fields) == 2
    for number in range(1000):
        head_of((b"n", b"%d" % number))
        assert len(module._cached_fields) <= 256


def test_headers_may_be_lists() -> None:
    """As ASGI allows; these are in no cache."""
    writer = ResponseWriter("GET", "1.1", keep_alive=True)
    headers: Any = [[b"a", b"b"], [b"content-length", b"1"]]
    writer.start(200, headers)
    assert b"a: b\r\n" in writer.data(b"x", more=False)
