"""Publishers' API keys: random, and stored as digests only.

A key is 32 random bytes, so a plain SHA-256 hides it as well as a slow hash; slow
hashes are for passwords, which can be guessed. Each entry names a publisher and the
keys that it may publish to. A name may have two entries, the old key and the new one,
so that publishers can be changed over one by one.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .patterns import BadPattern, Grants, grants_from

__all__ = ["BadKeyEntry", "Keyring", "PublisherKey", "entry_for", "new_key"]

# The old key and the new one.
KEYS_A_NAME = 2
MAX_KEY_LENGTH = 256

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)


class BadKeyEntry(ValueError):
    """An entry cannot be used; the message says which and why.

    It repeats nothing of a malformed entry: that may be an API key, pasted where its
    line belongs.
    """


@dataclass(frozen=True, slots=True)
class PublisherKey:
    """One entry of a keyring.

    Attributes:
        name: The publisher.
        digest: SHA-256 of the key, 32 bytes.
        grants: What may be published to.
    """

    name: str
    digest: bytes
    grants: Grants


class Keyring:
    """The keys of all publishers."""

    def __init__(self, entries: Iterable[str]) -> None:
        """Read the entries, ``NAME:SHA256:KEYS``.

        Args:
            entries: KEYS are names or patterns with a ``*`` at the end, with commas
                between them.

        Raises:
            BadKeyEntry: An entry is malformed, or a name has more than two.
        """
        self._keys = [_read(entry, place) for place, entry in enumerate(entries, 1)]
        for name, count in Counter(key.name for key in self._keys).items():
            if count > KEYS_A_NAME:
                raise BadKeyEntry(
                    f"{name} has {count} keys; {KEYS_A_NAME} are for changing over"
                )

    def __repr__(self) -> str:
        names = sorted({key.name for key in self._keys})
        return f"<Keyring: {', '.join(names)}>"

    def __len__(self) -> int:
        return len(self._keys)

    def replace(self, other: Keyring) -> None:
        """Have the keys of another keyring instead of those before."""
        self._keys = other._keys

    def find(self, key: str) -> PublisherKey | None:
        """Return the entry of a key, or None if it is not known.

        All entries are compared, each in constant time: the duration reveals nothing.
        """
        if len(key) > MAX_KEY_LENGTH:
            return None
        digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
        found = None
        for entry in self._keys:
            if hmac.compare_digest(entry.digest, digest):
                found = entry
        return found


def new_key() -> str:
    """Return a new key: 43 characters that carry 32 random bytes."""
    return secrets.token_urlsafe(32)


def entry_for(name: str, key: str, patterns: Sequence[str]) -> str:
    """Return the line of a keyring for a key.

    Raises:
        BadKeyEntry: The name or a pattern cannot be used.
    """
    digest = hashlib.sha256(key.encode()).hexdigest()
    entry = f"{name}:{digest}:{','.join(patterns)}"
    _read(entry)
    return entry


def _read(entry: str, place: int = 1) -> PublisherKey:
    name, _, rest = entry.partition(":")
    digest, _, patterns = rest.partition(":")
    if not (_NAME.fullmatch(name) and _DIGEST.fullmatch(digest)):
        raise BadKeyEntry(
            f"entry {place} is not NAME:SHA256:KEYS as `triopoll key` prints it, where "
            "NAME is made of letters, digits, '.', '_' and '-', and SHA256 of 64 "
            "hexadecimal digits"
        )
    try:
        grants = grants_from(patterns.split(","))
    except BadPattern as error:
        raise BadKeyEntry(f"the entry {name} {error}") from None
    return PublisherKey(name, bytes.fromhex(digest), grants)
