"""Chunked bodies are cut right however their bytes arrive, and refused if malformed."""

from __future__ import annotations

import pytest

from triopoll.server.chunked_body import ChunkedBody
from triopoll.server.errors import HttpError

LIMIT = 1024


def take_all(pieces: list[bytes]) -> tuple[bytes, bool, bytes]:
    """Feed pieces; return the data, whether that was all of it, and what is left."""
    chunks, buffer, data = ChunkedBody(LIMIT), bytearray(), b""
    for piece in pieces:
        buffer += piece
        data += chunks.take(buffer)
    return data, chunks.complete, bytes(buffer)


VECTORS = {
    "empty": (b"0\r\n\r\n", b""),
    "one chunk": (b"3\r\nabc\r\n0\r\n\r\n", b"abc"),
    "digits": (b"00A\r\n0123456789\r\n000\r\n\r\n", b"0123456789"),
    "line ends as data": (b"4\r\n\r\n\r\n\r\n0\r\n\r\n", b"\r\n\r\n"),
    "extensions": (b'1;a=b;c="d e"\r\nx\r\n1;\r\ny\r\n0;z\r\n\r\n', b"xy"),
    "trailers": (b"1\r\nx\r\n0\r\nT: u\r\nV:\r\n\r\n", b"x"),
}


@pytest.mark.parametrize("name", VECTORS)
def test_a_body_however_it_arrives(name: str) -> None:
    """Whole, byte by byte and with bytes behind it, which stay in the buffer."""
    wire, data = VECTORS[name]
    assert take_all([wire]) == (data, True, b"")
    assert take_all([wire[i : i + 1] for i in range(len(wire))]) == (data, True, b"")
    assert take_all([wire + b"GET /"]) == (data, True, b"GET /")
    for end in range(len(wire)):
        assert not take_all([wire[:end]])[1]


@pytest.mark.parametrize(
    "wire",
    [
        b"xyz\r\n",
        b"\r\n",
        b"-1\r\n",
        b"+1\r\n",
        b"0x1\r\n",
        b"1 \r\nx\r\n",
        b" 1\r\nx\r\n",
        b"1\nX\n",
        b"1;a\rb\r\nx\r\n",
        b"1;\0\r\nx\r\n",
        b"1\r\nabc\r\n",
        b"1\r\nx\n\n",
        b"ffffffffffffffff\r\n",
        b"0\r\nno trailer\r\n\r\n",
        b"0\r\na b: c\r\n\r\n",
        b"0\r\nT: u\n\r\n",
    ],
)
def test_broken_chunks_are_refused(wire: bytes) -> None:
    """Bytes that are no chunked body are answered 400, not waited for."""
    with pytest.raises(HttpError, match="malformed body") as caught:
        take_all([wire])
    assert caught.value.status == 400


@pytest.mark.parametrize(
    "start", [b"1;", b"0\r\nTrailer: "], ids=["extension", "trailer"]
)
def test_endless_framing_is_refused(start: bytes) -> None:
    """Chunk extensions and trailers are bounded like a head."""
    chunks, buffer = ChunkedBody(LIMIT), bytearray(start)
    assert chunks.take(buffer) == b""
    for _ in range(9):
        buffer += b"x" * 100
        assert chunks.take(buffer) == b""
        assert not chunks.complete
    buffer += b"x" * 200
    with pytest.raises(HttpError) as caught:
        chunks.take(buffer)
    assert caught.value.status == 431


def test_many_trailers_are_refused() -> None:
    """The limit is on all of them together."""
    with pytest.raises(HttpError) as caught:
        take_all([b"0\r\n" + b"a: b\r\n" * (LIMIT // 6 + 1)])
    assert caught.value.status == 431


def test_a_body_bears_many_small_chunks() -> None:
    """The bound on framing is not a bound on bodies."""
    assert take_all([b"1\r\nx\r\n"] * 1000) == (b"x" * 1000, False, b"")
    wire = b"1\r\nx\r\n" * 1000 + b"0\r\n\r\n"
    assert take_all([wire]) == (b"x" * 1000, True, b"")
