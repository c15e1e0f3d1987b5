"""JSON that is checked and passed on."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triopoll.asgi.json import BadJson, check_json, plain_text

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
).filter(lambda value: "Infinity" not in json.dumps(value))


@given(VALUES, st.booleans())
def test_json_is_passed_on_as_it_is(value: object, ascii_only: bool) -> None:
    """But for the space around it."""
    text = json.dumps(value, ensure_ascii=ascii_only)
    assert check_json(f" \r\n{text}\t".encode()) == text


@pytest.mark.parametrize("text", ['{"a":1,"a":2}', "1.0", "123e-7", '"\\ud800"', "-0"])
def test_what_reading_and_writing_would_change(text: str) -> None:
    """It stays as it was written."""
    assert check_json(text.encode()) == text


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" ",
        b"{",
        b"{}{}",
        b"'a'",
        b'"\xff"',
        b"\xef\xbb\xbf1",
        b"1".decode().encode("utf-16"),
        b"NaN",
        b"[-Infinity]",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"1" * 5000,
        b"\x0b1",
        b"\xc2\xa01",
    ],
)
def test_what_is_no_json(data: bytes) -> None:
    """Nor what only Python takes for it."""
    with pytest.raises(BadJson):
        check_json(data)


@given(st.binary(max_size=50))
def test_garbage(data: bytes) -> None:
    """It is JSON, or it is refused."""
    try:
        text = check_json(data)
    except BadJson:
        assert plain_text(data) == data
    else:
        json.loads(text)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b'"hello"', b"hello"),
        (b' "gr\\u00fc\\u00dfe" ', "grüße".encode()),
        (b'{"a":1}', b'{"a":1}'),
        (b"1", b"1"),
        (b"\xff", b"\xff"),
        (b'"\\ud800"', b'"\\ud800"'),
    ],
)
def test_plain_text(data: bytes, text: bytes) -> None:
    """A string says something; anything else is what it is."""
    assert plain_text(data) == text
