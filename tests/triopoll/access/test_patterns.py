"""Patterns: the keys that they cover, and those that they must not cover."""

import pytest

from triopoll.access.patterns import BadPattern, grants_from
from trioslock.protocol import to_key


@pytest.mark.parametrize(
    ("patterns", "key", "allowed"),
    [
        (["a"], "a", True),
        (["a"], "ab", False),
        (["a*"], "a", True),
        (["a*"], "abc", True),
        (["a*"], "A", False),
        (["a*"], "", False),
        (["*"], "anything", True),
        (["a/b/*"], "a/c", False),
        (["a/b/*"], "a/b", False),
        (["tenant1:*"], "tenant10:x", False),
        (["tenant1*"], "tenant10:x", True),
        (["a", "b*"], "bc", True),
        # Code points, not what they look like: composed and decomposed differ.
        (["caf\u00e9*"], "cafe\u0301", False),
        (["a%2F*"], "a/b", False),
        (["a*"], "%61b", False),
        (["stra\u00dfe*"], "strasse", False),
    ],
)
def test_what_a_pattern_covers(patterns: list[str], key: str, allowed: bool) -> None:
    """A name covers itself, a prefix covers the names that begin with it."""
    assert grants_from(patterns).allow(key) is allowed


@pytest.mark.parametrize(
    "patterns",
    [[], [""], ["a", ""], ["a*b"], ["**"], ["*a"], ["x" * 257], ["a"] * 65],
)
def test_a_pattern_with_two_meanings_is_refused(patterns: list[str]) -> None:
    """A pattern that could be read in two ways is refused."""
    with pytest.raises(BadPattern):
        grants_from(patterns)


def test_a_prefix_does_not_reach_other_names_by_their_digest() -> None:
    """A prefix does not cover 32 hexadecimal digits: another name's slock key."""
    victim = "another-tenant:orders"
    alias = to_key(victim).hex()
    assert to_key(alias) == to_key(victim)
    assert not grants_from([alias[0] + "*"]).allow(alias)
    assert not grants_from([alias[:31] + "*"]).allow(alias)
    assert not grants_from([alias.upper()[:5] + "*"]).allow(alias.upper())
    assert grants_from([alias[0] + "*"]).allow(alias + "0")


def test_a_prefix_does_not_reach_other_names_by_zero_bytes() -> None:
    """A prefix does not cover zero bytes, with which slock pads names."""
    assert to_key("\0ab") == to_key("ab")
    assert not grants_from(["\0*"]).allow("\0ab")


def test_an_alias_is_covered_by_its_name_and_by_everything() -> None:
    """The exact name and * alone cover such names."""
    alias = "0123456789abcdef" * 2
    assert grants_from([alias]).allow(alias)
    assert grants_from(["*"]).allow(alias)
