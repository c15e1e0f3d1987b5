"""Rules of retention: what they say, and for which keys."""

from __future__ import annotations

import pytest

from triopoll.store import LogLimits, with_retention

BASE = LogLimits(max_messages=9, max_age=50, max_ttl=90)


@pytest.mark.parametrize(
    ("rule", "key", "kept"),
    [
        ("orders/*:length=3", "orders/1", (3, 50, False)),
        ("orders/*:length=3:age=7.5:trim=on", "orders/1", (3, 7.5, True)),
        ("orders/*:length=3", "orders", (9, 50, False)),
        ("orders:length=3", "orders", (3, 50, False)),
        ("orders:length=3", "orders/1", (9, 50, False)),
        ("*:age=90", "anything", (9, 90, False)),
        ("a:b:*:length=3", "a:b:c", (3, 50, False)),
        ("a:x=1:*:length=3", "a:x=1:c", (3, 50, False)),
        ("grüße*:trim=off", "grüße", (9, 50, False)),
    ],
)
def test_a_rule(rule: str, key: str, kept: tuple[int, float, bool]) -> None:
    """It counts for what its pattern matches; what it leaves out is as usual."""
    limits = with_retention(BASE, [rule]).of(key)
    assert (limits.max_messages, limits.max_age, limits.trim_acked) == kept
    assert (limits.max_ttl, limits.memory) == (BASE.max_ttl, BASE.memory)


def test_the_longest_pattern_counts() -> None:
    """In whatever order they are given; a name counts before a prefix."""
    patterns = {"a*": 2, "*": 1, "abc*": 4, "abc": 5, "ab*": 3}
    rules = [f"{pattern}:length={n}" for pattern, n in patterns.items()]
    for given in (rules, rules[::-1]):
        limits = with_retention(BASE, given)
        lengths = [limits.of(key).max_messages for key in ("x", "ax", "abx", "abcx")]
        assert lengths == [1, 2, 3, 4]
        assert limits.of("abc").max_messages == 5


def test_no_rules() -> None:
    """All keys have the same limits."""
    assert with_retention(BASE, []) == BASE
    assert BASE.of("a") is BASE


@pytest.mark.parametrize(
    ("rules", "sentence"),
    [
        (["orders/*"], "must be rules such as"),
        ([":length=1"], "must be rules such as"),
        (["a:length"], "must be rules such as"),
        (["a*b:length=1"], "which is not the name of a key or a prefix and"),
        (["a" * 257 + ":length=1"], "which is not the name of a key or a prefix and"),
        (["a:size=1"], "there are length, age, trim"),
        (["a:length=1:length=2"], "has length for 'a' twice"),
        (["a:length=1", "a:age=2"], "has two rules for 'a'"),
        (["a:length=0"], "not a whole number above 0"),
        (["a:length=1.5"], "not a whole number above 0"),
        (["a:length="], "not a whole number above 0"),
        (["a:age=0"], "not a number above 0"),
        (["a:age=x"], "not a number above 0"),
        (["a:age=inf"], "not a number above 0"),
        (["a:age=90.5"], "above the longest time to live"),
        (["a:trim=yes"], "neither on nor off"),
        ([f"a{n}:age=1" for n in range(65)], "has more than 64 rules"),
    ],
)
def test_what_is_no_rule(rules: list[str], sentence: str) -> None:
    """It is refused, with a sentence that says what."""
    with pytest.raises(ValueError, match=sentence):
        with_retention(BASE, rules)
