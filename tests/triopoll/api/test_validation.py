"""What is wrong with JSON is said in a sentence that names the field."""

from __future__ import annotations

import json
from typing import Annotated, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta, Struct

from triopoll.api.validation import (
    MALFORMED,
    MAX_DEPTH,
    BadRequest,
    BoundedInteger,
    check_json_value,
    check_length,
    decode_integer,
    explain,
    explain_malformed,
    field_at,
    split_members,
)


class Digit(BoundedInteger):
    low, high = 0, 9


class Inner(Struct, forbid_unknown_fields=True):
    word: Annotated[str, Meta(min_length=1, max_length=3)]


class Outer(Struct, forbid_unknown_fields=True):
    """One field of each kind that requests have."""

    name: str
    items: Annotated[list[Inner], Meta(min_length=1, max_length=2)] = []
    wait: Annotated[float, Meta(ge=0)] = 0
    keep: Annotated[float, Meta(gt=0)] = 1
    count: Annotated[int, Meta(ge=0, le=10)] = 0
    digit: Digit = Digit(0)
    default_type: Literal["clear", "set"] = "clear"
    raw: bytes = b""


OUTER = msgspec.json.Decoder(Outer, dec_hook=decode_integer)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[]", "the body is not an object"),
        ("{}", "the body lacks name"),
        ('{"name":1}', "name is not a string"),
        ('{"name":null}', "name is not a string"),
        ('{"nickname":1}', "the body has an unknown field: 'nickname'"),
        ('{"%s":1}' % ("x" * 99), f"the body has an unknown field: {'x' * 40!r}"),
        ('{"`\\n":1}', "the body has an unknown field: '`\\n'"),
        ('{"items":{}}', "items is not a list"),
        ('{"items":[]}', "items is empty"),
        ('{"items":[{"word":"a"},{"word":"a"},{"word":"a"}]}', "items has more than 2"),
        ('{"items":[7]}', "items[0] is not an object"),
        ('{"items":[{}]}', "items[0] lacks word"),
        ('{"items":[{"word":""}]}', "items[0].word is empty"),
        ('{"items":[{"word":"long"}]}', "items[0].word is longer than 3 bytes"),
        ('{"items":[{"what":7}]}', "items[0] has an unknown field: 'what'"),
        ('{"wait":"1"}', "wait is not a number"),
        ('{"wait":true}', "wait is not a number"),
        ('{"wait":1e999}', "wait is not a number"),
        ('{"wait":-1}', "wait is below 0"),
        ('{"keep":0}', "keep is not above 0"),
        ('{"count":-1}', "count is below 0"),
        ('{"count":11}', "count is above 10"),
        ('{"count":1.5}', "count is not an integer"),
        ('{"digit":10}', "digit is not an integer from 0 to 9"),
        ('{"digit":1.5}', "digit is not an integer from 0 to 9"),
        ('{"digit":true}', "digit is not an integer from 0 to 9"),
        ('{"digit":"1"}', "digit is not an integer from 0 to 9"),
        ('{"digit":null}', "digit is not an integer from 0 to 9"),
        ('{"default_type":"x"}', "default_type is not one of: clear, set"),
        ('{"default_type":1}', "default_type is not one of: clear, set"),
        ('{"raw":"/w="}', "raw is not base64"),
        ('{"raw":7}', "raw is not a string"),
    ],
)
def test_each_error_of_msgspec_has_a_sentence(text: str, sentence: str) -> None:
    """None is passed on in msgspec's own words, so a change of them is found here."""
    with pytest.raises(msgspec.ValidationError) as caught:
        OUTER.decode(text)
    assert explain(caught.value, "the body").startswith(sentence)


def test_the_place_of_an_item() -> None:
    """Fields of the body have no prefix, those of an item have the item's."""
    assert field_at("the body", "key") == "key"
    assert field_at("items[3]", "key") == "items[3].key"
    with pytest.raises(msgspec.ValidationError) as caught:
        OUTER.decode('{"name":1}')
    assert explain(caught.value, "items[3]") == "items[3].name is not a string"


def test_an_integer_may_have_a_fraction_of_zero() -> None:
    """As JSON Schema has it; the value is an int then."""
    digit = OUTER.decode('{"name":"","digit":7.0}').digit
    assert (type(digit), digit) == (Digit, 7)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (b"", "the body is not JSON"),
        (b"\xff", "the body is not UTF-8"),
        (b'{"a":\xed\xa0\x80}', "the body is not UTF-8"),
        ("\ufeff1".encode(), "the body is not JSON"),
        (b"[NaN]", "the body has NaN, which is not JSON"),
        (b"[" * 50_000, "the body is nested too deep"),
        (b'"\\ud800"', "the body has a surrogate that stands alone"),
        (b'{"a":{"b":["x","\\udfff"]}}', "a.b[1] has a surrogate that stands alone"),
        (b'{"\\udfff":1}', "the body has a surrogate that stands alone"),
        ('{"a":"\udfff"}', "a has a surrogate that stands alone"),
    ],
)
def test_malformed_text(text: bytes | str, sentence: str) -> None:
    """What msgspec could not decode is described by another parser."""
    with pytest.raises(MALFORMED):
        msgspec.json.decode(text)
    assert explain_malformed(text) == sentence


def test_members() -> None:
    """They are returned undecoded; a name may not come twice, in whatever spelling."""
    members = split_members(b'{"a": [1, 2.50] , "b":"x"}', "it")
    assert {name: bytes(value) for name, value in members.items()} == {
        "a": b"[1, 2.50]",
        "b": b'"x"',
    }
    with pytest.raises(BadRequest, match=r"^it has 'a' twice$"):
        split_members(rb'{"a":1,"b":2,"\u0061":1}', "it")
    with pytest.raises(BadRequest, match=r"^it is not an object$"):
        split_members(b"[]", "it")
    assert split_members(b'{"a":{"b":1,"b":2}}', "it").keys() == {"a"}


def test_lengths_are_those_of_utf_8() -> None:
    """Of text as of bytes."""
    check_length("é" * 4, 8, "the body", "key")
    check_length(b"x" * 8, 8, "the body", "key")
    for value in ("é" * 5, "x" * 9, b"x" * 9):
        with pytest.raises(
            BadRequest, match=r"^items\[1\].key is longer than 8 bytes$"
        ):
            check_length(value, 8, "items[1]", "key")


def nested(depth: int, inner: str = "1") -> bytes:
    return ("[" * depth + inner + "]" * depth).encode()


def test_depth() -> None:
    """Brackets count where they are not text."""
    check_json_value(nested(MAX_DEPTH), "it")
    check_json_value(json.dumps(['\\"[{' * MAX_DEPTH, [[]] * MAX_DEPTH]).encode(), "it")
    for text in (nested(MAX_DEPTH + 1), nested(MAX_DEPTH, '{"a":1}')):
        with pytest.raises(BadRequest, match=r"^it is nested deeper than 128 levels$"):
            check_json_value(text, "it")


@pytest.mark.slow
@given(
    st.recursive(
        st.integers() | st.text(alphabet='[]{}\\"a'),
        lambda inner: st.lists(inner) | st.dictionaries(st.text('[{"\\'), inner),
    )
)
def test_depth_is_counted_exactly(value: object) -> None:
    """Against a count by the decoded value, with brackets and quotes in strings."""

    def depth(value: object) -> int:
        if isinstance(value, dict):
            value = [*value.values()]
        elif not isinstance(value, list):
            return 0
        return 1 + max(map(depth, value), default=0)

    text = json.dumps(value)
    check_json_value(nested(MAX_DEPTH - depth(value), text), "it")
    with pytest.raises(BadRequest):
        check_json_value(nested(MAX_DEPTH + 1 - depth(value), text), "it")
