"""What is encoded here is what a receiver by the specification takes out of it."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.triopoll.event_stream import Event, Receiver

from triopoll.api.event_stream import EVENT_STREAM, encode_comment, encode_event

# Characters that mean something in a stream are frequent.
TEXT = st.text(st.sampled_from("\r\n \0:data\ufeff") | st.characters(codec="utf-8"))
_ONE_LINE = st.characters(codec="utf-8", exclude_characters="\r\n\0")
LINE = st.text(
    st.sampled_from(" :data")
    | st.characters(codec="utf-8", exclude_characters="\r\n\0")
)
FIELDS = st.fixed_dictionaries(
    {
        "event": LINE,
        "event_id": LINE,
        "retry_ms": st.none() | st.integers(0, 100_000),
    }
)


def receive(stream: bytes, cuts: list[int]) -> tuple[list[Event], Receiver]:
    receiver, found, start = Receiver(), list[Event](), 0
    for cut in [*sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]:
        found += receiver.feed(stream[start:cut])
        start = cut
    return found, receiver


@given(st.lists(st.tuples(st.none() | TEXT, FIELDS)), st.lists(st.integers(0, 10_000)))
def test_events_arrive_as_they_were_given(
    events: list[tuple[str | None, dict[str, object]]], cuts: list[int]
) -> None:
    """However the stream is cut; line ends of all kinds arrive as LF."""
    stream = encode_comment()
    expected: list[Event] = []
    last_id, retry_ms = "", None
    for data, fields in events:
        raw = None if data is None else data.encode()
        stream += encode_event(raw, **fields)  # type: ignore[arg-type]
        last_id = fields["event_id"] or last_id
        retry_ms = retry_ms if fields["retry_ms"] is None else fields["retry_ms"]
        if data is not None:
            text = re.sub("\r\n|\r", "\n", data)
            kind = str(fields["event"] or "message")
            expected.append(Event(kind, text, str(last_id)))
    found, receiver = receive(stream, cuts)
    assert found == expected
    assert (receiver.last_id, receiver.retry_ms) == (last_id, retry_ms)
    assert receiver.comments == [""]


@given(TEXT)
def test_no_data_poses_as_an_event(data: str) -> None:
    """Every line of it is a data line, and there is one empty line: the last."""
    encoded = encode_event(data.encode(), event="e")
    first, *lines, empty, rest = encoded.split(b"\n")
    assert (first, empty, rest) == (b"event: e", b"", b"")
    assert all(line.startswith(b"data:") and b"\r" not in line for line in lines)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", b"data:\n\n"),
        (b"a", b"data:a\n\n"),
        (b" a", b"data:  a\n\n"),
        (b"a\n\rb\r\nc\n", b"data:a\ndata:\ndata:b\ndata:c\ndata:\n\n"),
        (b'{"a":1}\n\nevent: control', b'data:{"a":1}\ndata:\ndata:event: control\n\n'),
    ],
)
def test_lines_of_data(data: bytes, expected: bytes) -> None:
    """A space is added where the receiver would strip one of the data's own."""
    assert encode_event(data) == expected


def test_the_fields_of_an_event() -> None:
    """In this order and with a space, which receivers strip."""
    encoded = encode_event(b"x", event="control", event_id="1.2", retry_ms=500)
    assert encoded == b"retry: 500\nid: 1.2\nevent: control\ndata:x\n\n"
    assert encode_event(None, event_id="7") == b"id: 7\n\n"


def test_comments() -> None:
    assert encode_comment() == b":\n\n"
    assert encode_comment("still here") == b":still here\n\n"


@pytest.mark.parametrize("bad", ["a\nb", "a\rb", "a\0b"])
def test_a_field_of_one_line_is_one_line(bad: str) -> None:
    """Nothing that comes from a client can begin another field."""
    for encode in (
        lambda: encode_event(b"", event=bad),
        lambda: encode_event(b"", event_id=bad),
        lambda: encode_comment(bad),
    ):
        with pytest.raises(ValueError, match="has a line end or NUL in it"):
            encode()


def test_the_headers_of_a_stream() -> None:
    """No cache keeps it, and nginx passes it on at once."""
    assert dict(EVENT_STREAM) == {
        b"content-type": b"text/event-stream",
        b"cache-control": b"no-store",
        b"x-accel-buffering": b"no",
    }
