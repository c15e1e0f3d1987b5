"""Query strings: read exactly, or refused with a sentence that names the parameter."""

import contextlib
from urllib.parse import quote_from_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triopoll.api.poll.query import BadParameter, parse_poll
from triopoll.asgi.query import parse_query
from triopoll.core.poll_query import PollQuery
from triopoll.settings import Settings

SETTINGS = Settings(default_timeout=60, max_timeout=300, max_key_bytes=64)


def parse(query: bytes) -> PollQuery:
    return parse_poll(parse_query(query), SETTINGS)


def test_defaults() -> None:
    """Only the event is needed."""
    assert parse(b"event=test") == PollQuery(
        key="test", default="clear", reset=False, timeout=60, lease=120
    )


def test_everything_given() -> None:
    """The parameters in any order, among others that are not ours."""
    query = b"_=1&timeout=2.5&wait_type=reset&default_type=set&event=a%2Fb+c&_=2"
    assert parse(query) == PollQuery(
        key="a/b c", default="set", reset=True, timeout=2.5, lease=5
    )


def test_empty_values_are_defaults() -> None:
    """Front ends write all parameters and leave some empty."""
    assert parse(b"event=t&default_type=&wait_type=&timeout=") == parse(b"event=t")


@pytest.mark.parametrize(
    ("text", "timeout", "lease"),
    [
        (b"0", 0, 120),
        (b"0.0", 0, 120),
        (b".25", 0.25, 0.5),
        (b"7.", 7, 14),
        (b"1e1", 10, 20),
        (b"1e-1", 0.1, 0.2),
        (b"300", 300, 600),
        (b"301", 300, 600),
        (b"99999999999999999999999999999999", 300, 600),
    ],
)
def test_timeout_is_clamped_and_the_lease_is_twice_that(
    text: bytes, timeout: float, lease: float
) -> None:
    """A look without waiting changes an event for as long as a default poll does."""
    query = parse(b"event=t&timeout=" + text)
    assert (query.timeout, query.lease) == (timeout, lease)


@pytest.mark.parametrize(
    "text",
    [
        *("abc", "nan", "NaN", "inf", "-inf", "infinity", "-1", "-0.5", "%2B1"),
        *("1e999", "1_0", "0x10", "1,5", ".", "1.2.3", "%201", "1%20", "1%0A", "%00"),
        *("%D9%A3", "1" * 33),
    ],
)
def test_a_timeout_that_is_no_plain_number_is_refused(text: str) -> None:
    """What float() would also take is not a number of seconds that a person wrote."""
    with pytest.raises(BadParameter, match=r"^timeout is not a number"):
        parse(b"event=t&timeout=" + text.encode())


@pytest.mark.parametrize("query", [b"", b"event=", b"event", b"timeout=5", b"Event=t"])
def test_without_an_event(query: bytes) -> None:
    """The recipe's own sentence."""
    with pytest.raises(BadParameter, match=r"^event key is empty$"):
        parse(query)


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        (b"event=t&default_type=Set", "default_type is not one of: clear, set"),
        (b"event=t&default_type=0", "default_type is not one of: clear, set"),
        (b"event=t&wait_type=clear", "wait_type is not one of: reset"),
        (b"event=" + b"k" * 65, "event is longer than 64 bytes"),
        (b"event=" + b"%C3%A4" * 33, "event is longer than 64 bytes"),
        (b"event=a&event=a", "event is given more than once"),
        (b"event=t&timeout=1&timeout=2", "timeout is given more than once"),
        (b"event=t&wait_type=&wait_type=reset", "wait_type is given more than once"),
        (b"event=t&default_type=set&default_type=set", "default_type is given more"),
        (b"event=%FF", "event is not UTF-8"),
        (b"event=\xff", "event is not UTF-8"),
        (b"event=%ED%A0%80", "event is not UTF-8"),
        (b"event=t&timeout=%80", "timeout is not UTF-8"),
        (b"event=t&default_type=%C3", "default_type is not UTF-8"),
        (b"event=t" + b"&a" * 40, "query has more than 32 fields"),
        (b"event=t&x=" + b"y" * 8192, "query is longer than 8192 bytes"),
    ],
)
def test_garbage_is_refused_by_name(query: bytes, sentence: str) -> None:
    """Nothing is guessed, cut, or taken from the first of two values."""
    with pytest.raises(BadParameter) as caught:
        parse(query)
    assert str(caught.value).startswith(sentence)


def test_a_key_that_is_no_list_is_refused() -> None:
    """No visitor reaches what the service keeps for itself."""
    with pytest.raises(BadParameter, match=r"^event is a name that is reserved$"):
        parse(b"event=triopoll%3Aepoch")


def test_the_longest_key_is_taken() -> None:
    """The limit counts bytes of UTF-8, and its own value is allowed."""
    assert parse(b"event=" + b"%C3%A4" * 32).key == "ä" * 32


@given(st.binary(max_size=200))
def test_any_bytes_are_a_query_or_a_sentence(query: bytes) -> None:
    """No other exception leaves the parser."""
    with contextlib.suppress(BadParameter):
        assert parse(query).key


@given(
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=20).filter(
        lambda key: len(key.encode()) <= 64
    )
)
def test_any_key_is_read_as_it_was_meant(key: str) -> None:
    """What a client percent-encodes is what is waited for."""
    query = b"event=" + quote_from_bytes(key.encode(), safe="").encode()
    assert parse(query).key == key
