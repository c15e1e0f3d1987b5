"""The text dialect's requests and replies."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioslock import RemoteProtocolError
from trioslock.protocol import resp
from trioslock.protocol.resp import MAX_REQUEST_SIZE, MAX_REQUEST_WORDS, RespReader

PLAIN = b"*2\r\n$4\r\nECHO\r\n$1\r\nx\r\n"
VECTORS = [
    pytest.param(b"*1\r\n$4\r\nPING\r\n", [b"PING"], id="one word"),
    pytest.param(PLAIN, [b"ECHO", b"x"], id="two words"),
    pytest.param(b"*2\r\n$1\r\na\r\n$0\r\n\r\n", [b"a", b""], id="empty word"),
    pytest.param(b"*1\r\n$4\r\n\r\n\r\n\r\n", [b"\r\n\r\n"], id="line ends in a word"),
    pytest.param(
        b"*1\r\n$7\r\n$1\r\nx\r\n\r\n", [b"$1\r\nx\r\n"], id="a request in it"
    ),
    pytest.param(b"*01\r\n$0001\r\na\r\n", [b"a"], id="leading zeros"),
    pytest.param(b"*+1\r\n$+1\r\na\r\n", [b"a"], id="plus signs"),
    pytest.param(b"*0\r\n$1\r\na\r\n", [b"a"], id="count 0 is 1"),
    pytest.param(b"*-1\r\n$1\r\na\r\n", [b"a"], id="count -1 is 1"),
    pytest.param(
        b"*2\r\n$3\r\nSET\r\n$5000\r\n" + b"v" * 5000 + b"\r\n",
        [b"SET", b"v" * 5000],
        id="a large word",
    ),
]


def read_all(reader: RespReader) -> list[list[bytes]]:
    found = []
    while (words := reader.next_request()) is not None:
        found.append(words)
    return found


@pytest.mark.parametrize(("wire", "words"), VECTORS)
def test_reads_a_whole_request(wire: bytes, words: list[bytes]) -> None:
    """In one piece it is there at once, and nothing is kept."""
    reader = RespReader()
    reader.receive(wire)
    assert read_all(reader) == [words]
    assert reader.buffered == 0


@pytest.mark.parametrize(("wire", "words"), VECTORS)
def test_reads_byte_by_byte(wire: bytes, words: list[bytes]) -> None:
    """In bytes it is there with the last one, and not before."""
    reader = RespReader()
    for place in range(len(wire)):
        assert reader.next_request() is None
        reader.receive(wire[place : place + 1])
    assert read_all(reader) == [words]


@pytest.mark.parametrize(("wire", "words"), VECTORS)
def test_keeps_what_trails(wire: bytes, words: list[bytes]) -> None:
    """The start of a next request waits for its rest."""
    reader = RespReader()
    reader.receive(wire + PLAIN[:9])
    assert read_all(reader) == [words]
    assert reader.buffered == 9
    reader.receive(PLAIN[9:] + wire)
    assert read_all(reader) == [[b"ECHO", b"x"], words]


@pytest.mark.parametrize(("wire", "words"), VECTORS)
def test_reads_a_pipeline(wire: bytes, words: list[bytes]) -> None:
    """Requests in unusual form do not disturb their neighbours."""
    reader = RespReader()
    reader.receive((PLAIN + wire) * 20 + PLAIN)
    assert read_all(reader) == [[b"ECHO", b"x"], words] * 20 + [[b"ECHO", b"x"]]


@pytest.mark.parametrize(
    "wire",
    [
        b"PING\r\n",
        b"\r\n",
        b"*1\n$4\nPING\n",
        b"*x\r\n",
        b"*1_0\r\n",
        b"* 1\r\n",
        b"*\r\n",
        b"*1" + b"0" * 40,
        b"*1\r\n+4\r\n",
        b"*1\r\n$x\r\n",
        b"*1\r\n$-1\r\n",
        b"*1\r\n$4\r\nPINGxx",
        b"*1\r\n$4\r\nPING\rx",
        b"*%d\r\n" % (MAX_REQUEST_WORDS + 1),
        b"*1\r\n$%d\r\n" % (MAX_REQUEST_SIZE + 1),
        b"*2\r\n$1\r\na\r\n$%d\r\n" % MAX_REQUEST_SIZE,
        b"*99999999999999999999\r\n",
    ],
)
@pytest.mark.parametrize("at_once", [True, False])
def test_refuses_what_is_no_request(wire: bytes, at_once: bool) -> None:
    """What came before is still given out; then every call raises."""
    reader = RespReader()
    pieces = [PLAIN + wire] if at_once else [bytes([byte]) for byte in PLAIN + wire]
    for piece in pieces:
        reader.receive(piece)
    assert reader.next_request() == [b"ECHO", b"x"]
    for _ in range(2):
        with pytest.raises(RemoteProtocolError, match="text request"):
            reader.next_request()


def test_holds_no_more_than_the_limits() -> None:
    """A request as large as is allowed is read; it took no second copy to wait."""
    word = b"v" * (MAX_REQUEST_SIZE - 3)
    wire = b"*2\r\n$3\r\nSET\r\n$%d\r\n%b\r\n" % (len(word), word)
    reader = RespReader()
    for start in range(0, len(wire), 65_536):
        assert reader.next_request() is None
        reader.receive(wire[start : start + 65_536])
        assert reader.buffered <= start + 65_536
    assert reader.next_request() == [b"SET", word]


WORDS = st.lists(st.binary(max_size=40), min_size=1, max_size=8)


@given(st.lists(WORDS, max_size=5), st.lists(st.integers(1, 60), max_size=40))
def test_chunks_do_not_matter(requests: list[list[bytes]], sizes: list[int]) -> None:
    """Any words, cut anywhere, come out as they went in."""
    wire = b"".join(resp.array(words) for words in requests)
    reader = RespReader()
    found = []
    for size in sizes:
        reader.receive(wire[:size])
        wire = wire[size:]
        found += read_all(reader)
    reader.receive(wire)
    assert found + read_all(reader) == requests


@given(st.lists(st.binary(max_size=60), max_size=10))
def test_garbage_is_refused_or_waited_for(chunks: list[bytes]) -> None:
    """No bytes make the reader raise anything else or keep more than it got."""
    reader = RespReader()
    for chunk in chunks:
        reader.receive(b"*" + chunk)
    try:
        read_all(reader)
    except RemoteProtocolError:
        assert reader.buffered == 0
    assert reader.buffered <= sum(len(chunk) + 1 for chunk in chunks)


@pytest.mark.parametrize(
    ("word", "number"),
    [
        (b"0", 0),
        (b"-7", -7),
        (b"+7", 7),
        (b"9223372036854775807", (1 << 63) - 1),
        (b"-9223372036854775808", -(1 << 63)),
        (b"9223372036854775808", None),
        (b"", None),
        (b"-", None),
        (b"1.0", None),
        (b" 1", None),
        (b"1_0", None),
        (b"9" * 5000, None),
    ],
)
def test_integers(word: bytes, number: int | None) -> None:
    """Decimal, 64 bits, nothing that only Python takes for a number."""
    assert resp.parse_integer(word) == number


def test_replies() -> None:
    """Each kind of reply, as it stands on the wire."""
    assert resp.simple("OK") == b"+OK\r\n"
    assert resp.error("ERR a\r\nb") == b"-ERR a  b\r\n"
    assert resp.integer(-2) == b":-2\r\n"
    assert resp.bulk(b"a\r\nb") == b"$4\r\na\r\nb\r\n"
    assert resp.bulk_number(12) == b"$2\r\n12\r\n"
    assert resp.bulk_number(65535) == b"$5\r\n65535\r\n"
    assert resp.array([]) == b"*0\r\n"
    assert resp.array([b"a"]) == b"*1\r\n$1\r\na\r\n"


def test_lists_have_three_shapes() -> None:
    """None is a status line, one a bare string, several an array."""
    assert resp.listing([]) == b"+\r\n"
    assert resp.listing([b"a"]) == b"$1\r\na\r\n"
    assert resp.listing([b"a", b"b"]) == b"*2\r\n$1\r\na\r\n$1\r\nb\r\n"
