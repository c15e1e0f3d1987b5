"""Query strings: one parse, one grammar for numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triopoll.asgi.query import (
    MAX_FIELDS,
    BadQuery,
    is_utf8,
    parse_query,
    read_number,
)


@pytest.mark.parametrize(
    ("raw", "pairs"),
    [
        (b"", ()),
        (b"a=1&b=2&a=3", (("a", "1"), ("b", "2"), ("a", "3"))),
        (b"a&b=&&=c", (("a", ""), ("b", ""), ("", "c"))),
        (b"%61=b+c%2B", (("a", "b c+"),)),
        (b"a=%2541", (("a", "%41"),)),
        ("é=ü".encode(), (("é", "ü"),)),
        (b"a=%C3%A9", (("a", "é"),)),
        (b"a=\xc3%A9", (("a", "é"),)),
        (b"a=1;b=2", (("a", "1;b=2"),)),
    ],
)
def test_pairs(raw: bytes, pairs: tuple[tuple[str, str], ...]) -> None:
    """Names and values are decoded once, in order, empty ones included."""
    query = parse_query(raw)
    assert (query.raw, query.pairs) == (raw, pairs)


def test_values_of_a_name() -> None:
    """All of them, in order."""
    query = parse_query(b"a=1&b=2&a=3")
    assert query.values("a") == ["1", "3"]
    assert query.values("c") == []


@pytest.mark.parametrize("raw", [b"a=%FF", b"a=\xff", b"a=%ED%A0%80", b"a=%C3"])
def test_bytes_that_are_not_utf8_are_marked(raw: bytes) -> None:
    """They reach no endpoint as text, and no other value is refused for them."""
    query = parse_query(raw + b"&b=%C3%BC")
    assert not is_utf8(query.values("a")[0])
    assert is_utf8(query.values("b")[0])


def test_the_number_of_fields_is_limited() -> None:
    """So is the time that parsing takes."""
    assert len(parse_query(b"&".join([b"a=1"] * MAX_FIELDS)).pairs) == MAX_FIELDS
    for fields in (MAX_FIELDS + 1, 20_000):
        with pytest.raises(BadQuery, match="more than 100 fields"):
            parse_query(b"&".join([b"a"] * fields))


def test_short_queries_are_parsed_once() -> None:
    """A client that polls again costs no parse."""
    assert parse_query(b"event=k") is parse_query(b"event=k")
    long = b"event=" + b"k" * 300
    assert parse_query(long) == parse_query(long)
    assert parse_query(long) is not parse_query(long)


@given(st.binary(max_size=300))
def test_any_bytes_are_parsed_or_refused(raw: bytes) -> None:
    """Nothing else is raised, and the bytes can be had back from the text."""
    try:
        query = parse_query(raw)
    except BadQuery:
        return
    for name, value in query.pairs:
        for text in (name, value):
            assert is_utf8(text) == (text.encode("utf-8", "replace").decode() == text)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", 0),
        ("007", 7),
        ("2.5", 2.5),
        ("2.", 2.0),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("1.5E-3", 0.0015),
        ("1e-999", 0.0),
        ("9" * 32, int("9" * 32)),
    ],
)
def test_numbers(text: str, number: float) -> None:
    """An int where there are digits only."""
    assert read_number(text) == number
    assert type(read_number(text)) is type(number)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            ".",
            "-1",
            "+1",
            "1e",
            "e3",
            "1e1.5",
            "nan",
            "inf",
            "1_0",
            "٣",
            " 1",
            "1\n",
        ),
        *("0x1", "9" * 33, "1e999", "1e1000"),
    ],
)
def test_what_is_not_a_number(text: str) -> None:
    """float() accepts most of these."""
    assert read_number(text) is None
