"""API keys: found by digest, limited by pattern, two valid during a rotation."""

import hashlib

import pytest

from triopoll.access.keyring import BadKeyEntry, Keyring, entry_for, new_key

KEY = "GCCuvsnuhIyCU8T7x8xvBmJbgVBrKGl39aBtXg-hs5A"


def test_a_new_key_and_its_line_fit_each_other() -> None:
    """The setting accepts the line that the command prints."""
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
    """Each key has 256 random bits."""
    keys = {new_key() for _ in range(100)}
    assert len(keys) == 100
    assert {len(key) for key in keys} == {43}


def test_the_keys_are_replaced() -> None:
    """Whoever has the keyring asks the new ones from then on."""
    ring = Keyring([entry_for("a", "old", ["*"])])
    ring.replace(Keyring([entry_for("b", "new", ["*"])]))
    assert ring.find("old") is None
    assert ring.find("new") is not None
    assert repr(ring) == "<Keyring: b>"


def test_old_and_new_key_are_valid_together() -> None:
    """Two keys of one name are valid together, each with its own patterns."""
    ring = Keyring([entry_for("a", "old", ["x"]), entry_for("a", "new", ["x", "y"])])
    old, new = ring.find("old"), ring.find("new")
    assert old is not None
    assert new is not None
    assert not old.grants.allow("y")
    assert new.grants.allow("y")


@pytest.mark.parametrize("key", ["", "Old", "old ", "o", "x" * 10_000, "\udc80", "öld"])
def test_another_key_is_none(key: str) -> None:
    """Only the exact key is found; bytes that are not text match no key."""
    assert Keyring([entry_for("a", "old", ["*"])]).find(key) is None


def test_the_digest_is_no_key() -> None:
    """The digest in the configuration is not accepted as a key."""
    entry = entry_for("a", "old", ["*"])
    assert Keyring([entry]).find(hashlib.sha256(b"old").hexdigest()) is None
    assert Keyring([entry]).find(entry) is None


def test_patterns_may_have_colons() -> None:
    """Patterns may contain colons, which also separate the parts of an entry."""
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
    """The error names the entry and does not contain its digest."""
    with pytest.raises(BadKeyEntry) as caught:
        Keyring([entry])
    assert "0" * 63 not in str(caught.value)


@pytest.mark.parametrize(
    "entry", [f"{KEY}", f"{KEY}:shop:*", f"shop:{KEY}:*", f"shop {KEY}", f":{KEY}"]
)
def test_a_pasted_key_is_not_repeated(entry: str) -> None:
    """The error counts entries: what should be the name may be the key itself."""
    with pytest.raises(BadKeyEntry, match="entry 2 is not NAME:SHA256:KEYS") as caught:
        Keyring([entry_for("shop", KEY, ["*"]), entry])
    assert KEY not in str(caught.value)


def test_three_keys_of_one_name_are_too_many() -> None:
    """A third key of a name is refused: an old one was not removed."""
    with pytest.raises(BadKeyEntry, match="shop"):
        Keyring(entry_for("shop", key, ["*"]) for key in "abc")
