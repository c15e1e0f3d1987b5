"""Publishers' keys: found by digest, limited by pattern, changed over two at a time."""

import hashlib

import pytest

from triopoll.access.keyring import BadKeyEntry, Keyring, entry_for, new_key


def test_a_new_key_and_its_line_fit_each_other() -> None:
    """What the command prints is what the setting takes."""
    key = new_key()
    ring = Keyring([entry_for("shop", key, ["shop:*", "news"])])
    found = ring.find(key)
    assert found is not None
    assert found.name == "shop"
    assert found.grants.allow("shop:1")
    assert found.grants.allow("news")
    assert not found.grants.allow("newsletter")
    assert key not in repr(ring)
    assert len(ring) == 1


def test_keys_are_random() -> None:
    """No two are alike, and each has 256 bits."""
    keys = {new_key() for _ in range(100)}
    assert len(keys) == 100
    assert {len(key) for key in keys} == {43}


def test_old_and_new_key_are_valid_together() -> None:
    """Publishers change over one by one, each key with patterns of its own."""
    ring = Keyring([entry_for("a", "old", ["x"]), entry_for("a", "new", ["x", "y"])])
    old, new = ring.find("old"), ring.find("new")
    assert old is not None
    assert new is not None
    assert not old.grants.allow("y")
    assert new.grants.allow("y")


@pytest.mark.parametrize("key", ["", "Old", "old ", "o", "x" * 10_000, "\udc80", "öld"])
def test_another_key_is_none(key: str) -> None:
    """Only the exact key is found; what is no text is none either."""
    assert Keyring([entry_for("a", "old", ["*"])]).find(key) is None


def test_the_digest_is_no_key() -> None:
    """Who reads the configuration cannot publish."""
    entry = entry_for("a", "old", ["*"])
    assert Keyring([entry]).find(hashlib.sha256(b"old").hexdigest()) is None
    assert Keyring([entry]).find(entry) is None


def test_patterns_may_have_colons() -> None:
    """Keys are often named with colons, which also divide an entry."""
    found = Keyring([entry_for("a", "k", ["x:y:*"])]).find("k")
    assert found is not None
    assert found.grants.allow("x:y:z")


@pytest.mark.parametrize(
    "entry",
    [
        "",
        "shop",
        "shop:abc:*",
        f"shop:{'0' * 64}",
        f"shop:{'0' * 64}:",
        f"shop:{'0' * 64}:a,",
        f"shop:{'0' * 64}:a*b",
        f"shop:{'0' * 63}g:a",
        f"shop:{'A' * 64}:a",
        f":{'0' * 64}:a",
        f"sh op:{'0' * 64}:a",
    ],
)
def test_a_bad_entry_is_refused_without_its_digest(entry: str) -> None:
    """A start that fails says which entry, and gives nothing away."""
    with pytest.raises(BadKeyEntry) as caught:
        Keyring([entry])
    assert "0" * 63 not in str(caught.value)


def test_three_keys_of_one_name_are_too_many() -> None:
    """A third is one that somebody forgot to take away."""
    with pytest.raises(BadKeyEntry, match="shop"):
        Keyring(entry_for("shop", key, ["*"]) for key in "abc")
