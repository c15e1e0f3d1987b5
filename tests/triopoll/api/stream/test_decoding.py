"""What is read of a request for a stream, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from triopoll.api.stream.decoding import (
    BodyTooLong,
    StreamQuery,
    check_path,
    read_append,
    read_creation,
    read_query,
    source_path,
)
from triopoll.api.validation import BadRequest
from triopoll.asgi.messages import Request
from triopoll.settings import Settings
from triopoll.store import START, ForkPoint, NewAppend, NewStream, Offset, Producer

OFFSET = "1795897005177000_0000000000000012"
PLACE = Offset(1795897005177000, "0000000000000012")
NOW = 1_800_000_000.0


def ask(method: str, body: bytes = b"", query: bytes = b"", **headers: str) -> Request:
    pairs = [
        (name.replace("_", "-").encode(), value.encode("latin-1"))
        for name, value in headers.items()
    ]
    return Request(method, "/v1/stream/a", query, pairs, body=body)


def created(body: bytes = b"", **headers: Any) -> NewStream:
    settings = headers.pop("settings", Settings())
    return read_creation(ask("PUT", body, **headers), settings, NOW)


def appended(body: bytes = b"", **headers: Any) -> NewAppend:
    settings = headers.pop("settings", Settings())
    return read_append(ask("POST", body, **headers), settings)


# --- paths ----------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["a", "a/b.c/..d", "\u00e9 %2F", "x" * 8192, "..."])
def test_paths(path: str) -> None:
    """They stay as they are, up to their longest."""
    assert check_path(path) == path


@pytest.mark.parametrize(
    "path",
    [
        "",
        "a//b",
        "/a",
        "a/",
        "a/../b",
        "./a",
        "..",
        "a\nb",
        "a\0",
        "\ufffd",
        "\u202e",
        "x" * 8193,
        "\u00e9" * 4097,
    ],
)
def test_bad_paths(path: str) -> None:
    """What others on the way would change or hide is refused."""
    with pytest.raises(BadRequest, match="the path"):
        check_path(path)


def test_the_path_of_a_source() -> None:
    """It is given as in a URL."""
    assert source_path("/v1/stream/a/b%2fc%20%C3%A9") == "a/b/c \u00e9"
    for text in ("a", "/v1/stream/", "http://h/v1/stream/a", "/v1/stream/%ff", "\xff"):
        with pytest.raises(BadRequest):
            source_path(text)


# --- queries --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "after", "live", "cursor"),
    [
        (b"", START, "", None),
        (b"offset=-1&unknown=1", START, "", None),
        (b"offset=now&live=sse", None, "sse", None),
        (f"offset={OFFSET}&live=long-poll&cursor=12".encode(), PLACE, "long-poll", 12),
        (b"offset=-1&cursor=x", START, "", None),
        (b"offset=-1&cursor=1&cursor=2", START, "", None),
    ],
)
def test_queries(query: bytes, after: Any, live: Any, cursor: int | None) -> None:
    """Each offset, each way to wait; a cursor that is none counts as none."""
    expected = StreamQuery(after=after, live=live, cursor=cursor)
    assert read_query(ask("GET", query=query)) == expected


@pytest.mark.parametrize(
    "query",
    [
        b"offset=",
        b"offset=1",
        b"offset=-1&offset=-1",
        b"offset=now%00",
        b"offset=now%0a",
        b"offset=1,2",
        b"live=sse",
        b"offset=-1&live=1",
        b"offset=-1&live=sse&live=sse",
        f"offset={OFFSET}%0D%0A".encode(),
        f"offset=%20{OFFSET}".encode(),
    ],
)
def test_bad_queries(query: bytes) -> None:
    """An offset has one form; a wait needs one."""
    with pytest.raises(BadRequest):
        read_query(ask("GET", query=query))


# --- creating -------------------------------------------------------------------------


def test_creations() -> None:
    """Defaults, and each header."""
    assert created() == NewStream(content_type="application/octet-stream")
    assert created(b"x", content_type="Text/Plain; a=b", stream_ttl="60") == NewStream(
        content_type="Text/Plain; a=b", ttl=60, data=b"x"
    )
    assert created(stream_closed="TRUE", stream_ttl="0").closed
    assert not created(stream_closed="yes").closed
    at = created(stream_expires_at="2030-01-01T00:00:00.123456789+01:00")
    assert at.expires == "2030-01-01T00:00:00.123456789+01:00"
    assert at.expires_at == 1893452400123
    assert created(stream_expires_at="2030-01-01t00:00:00z").expires_at == 1893456000000
    assert created(stream_expires_at="1950-01-01T00:00:00Z").expires_at == 1


def test_forks() -> None:
    """What is not given is the source's."""
    source = "/v1/stream/a%20b"
    assert created(stream_forked_from=source) == NewStream(
        content_type="", fork=ForkPoint("a b", None, 0)
    )
    assert created(
        b"[1]",
        content_type="application/json",
        stream_forked_from=source,
        stream_fork_offset=OFFSET,
        stream_fork_sub_offset="3",
    ) == NewStream(
        content_type="application/json",
        data=b"1",
        fork=ForkPoint("a b", PLACE, 3),
    )
    start = created(stream_forked_from=source, stream_fork_offset="-1")
    assert start.fork == ForkPoint("a b", START, 0)


@pytest.mark.parametrize(
    "headers",
    [
        {"stream_ttl": ""},
        {"stream_ttl": "060"},
        {"stream_ttl": "+60"},
        {"stream_ttl": "1e3"},
        {"stream_ttl": "\u00b2"},
        {"stream_ttl": "1" * 11},
        {"stream_ttl": "60", "stream_expires_at": "2030-01-01T00:00:00Z"},
        {"stream_expires_at": "2030-01-01"},
        {"stream_expires_at": "2030-01-01T00:00:00"},
        {"stream_expires_at": "2030-13-01T00:00:00Z"},
        {"content_type": "text"},
        {"content_type": "text/pl\u00e4in"},
        {"content_type": "a/" + "b" * 256},
        {"stream_fork_offset": OFFSET},
        {"stream_fork_sub_offset": "0"},
        {"stream_forked_from": "/v1/stream/a", "stream_fork_offset": "now"},
        {"stream_forked_from": "/v1/stream/a", "stream_fork_sub_offset": "01"},
        {"stream_forked_from": "/v1/stream/a", "stream_fork_sub_offset": "1.5"},
        {"stream_forked_from": "/v1/stream/../a"},
    ],
)
def test_bad_creations(headers: dict[str, str]) -> None:
    """Each header has one form."""
    with pytest.raises(BadRequest):
        created(**headers)


def test_a_header_that_is_there_twice() -> None:
    """It is refused, since two readers could take different ones."""
    request = ask("PUT", stream_ttl="1")
    request.headers = [*request.headers, (b"stream-ttl", b"1")]
    with pytest.raises(BadRequest, match="Stream-TTL is given more than once"):
        read_creation(request, Settings(), NOW)


def test_a_fork_with_a_body_has_a_type() -> None:
    """Or it would not be known what the body is."""
    with pytest.raises(BadRequest, match="Content-Type"):
        created(b"x", stream_forked_from="/v1/stream/a")


def test_the_longest_time() -> None:
    """A stream without a time gets it; a fork has that of its source."""
    settings = Settings(stream_max_ttl=60)
    assert created(settings=settings).ttl == 60
    assert created(settings=settings, stream_ttl="60").ttl == 60
    assert created(settings=settings, stream_forked_from="/v1/stream/a").ttl is None
    for headers in (
        {"stream_ttl": "61"},
        {"stream_expires_at": "2100-01-01T00:00:00Z"},
        {"stream_ttl": "61", "stream_forked_from": "/v1/stream/a"},
    ):
        with pytest.raises(BadRequest, match="at most 60 s"):
            created(settings=settings, **headers)
    soon = created(settings=settings, stream_expires_at="2027-01-15T08:00:30Z")
    assert soon.ttl is None


# --- appending ------------------------------------------------------------------------


def test_appends() -> None:
    """Bytes as they are; JSON messages joined by commas, as they were written."""
    assert appended(b"\0x", content_type="A/B; c=d") == NewAppend(
        kind="a/b", data=b"\0x"
    )
    assert appended(stream_closed="true") == NewAppend(closes=True)
    assert appended(b"x", content_type="a/b", stream_seq="\u00e9").seq == b"\xe9"
    for body, data in (
        (b' [1.0, {"a" : 1e2}, [ ]] ', b'1.0,{"a" : 1e2},[ ]'),
        (b'\n{"a":[]}\n', b'{"a":[]}'),
        (b'"x"', b'"x"'),
        (b"[[]]", b"[]"),
    ):
        assert appended(body, content_type="application/JSON").data == data


@pytest.mark.parametrize(
    "body", [b"[]", b"{", b"\xff", b"1 2", b'"\\ud800"', b"[" * 200, b"NaN", b" "]
)
def test_what_is_no_json(body: bytes) -> None:
    """It is refused; so is an array without messages."""
    with pytest.raises(BadRequest, match="the body"):
        appended(body, content_type="application/json")


def test_an_empty_array_makes_an_empty_stream() -> None:
    assert created(b"[]", content_type="application/json").data == b""


def test_the_longest_append() -> None:
    settings = Settings(stream_max_append_bytes=3)
    assert appended(b"123", content_type="a/b", settings=settings).data == b"123"
    for read in (appended, created):
        with pytest.raises(BodyTooLong):
            read(b"1234", content_type="a/b", settings=settings)


PRODUCER = {"producer_id": "p", "producer_epoch": "1", "producer_seq": "2"}


def test_producers() -> None:
    new = appended(b"x", content_type="a/b", **PRODUCER)
    assert new.producer == Producer("p", 1, 2)
    most = appended(stream_closed="true", **PRODUCER | {"producer_seq": f"{2**53 - 1}"})
    assert most.producer == Producer("p", 1, 2**53 - 1)


@pytest.mark.parametrize(
    "headers",
    [
        {"producer_id": "p"},
        {"producer_epoch": "1", "producer_seq": "1"},
        {"producer_id": "p", "producer_seq": "1"},
        PRODUCER | {"producer_id": ""},
        PRODUCER | {"producer_id": "p" * 257},
        PRODUCER | {"producer_seq": f"{2**53}"},
        PRODUCER | {"producer_seq": "-1"},
        PRODUCER | {"producer_seq": "1e1"},
        PRODUCER | {"producer_epoch": ""},
        {"stream_seq": ""},
        {"stream_seq": "x" * 257},
    ],
)
def test_bad_appends(headers: dict[str, str]) -> None:
    with pytest.raises(BadRequest):
        appended(b"x", content_type="a/b", **headers)


def test_bodies_that_are_refused() -> None:
    with pytest.raises(BadRequest, match="the body is empty"):
        appended(content_type="a/b")
    with pytest.raises(BadRequest, match="needs a Content-Type"):
        appended(b"x")
