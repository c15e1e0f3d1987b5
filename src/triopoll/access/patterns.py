"""The keys that a ticket or a publisher key grants: exact names, and prefixes.

Tickets and publisher keys use one grammar. Names are compared code point by code point:
a key is neither a path nor a URL, so nothing is normalised, decoded or case-folded.

Two names can be one slock key: 32 hexadecimal digits are decoded to the 16 bytes that
another name is hashed or padded to, and names are padded with zero bytes. So a ticket
for ``a*`` could wait for an event of another tenant by the digest of its name.
Therefore a prefix never covers such names; only ``*`` and the exact name do.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["BadPattern", "Grants", "grants_from"]

MAX_PATTERNS = 64
# In characters. No key that the endpoints take by default is longer.
MAX_PATTERN_LENGTH = 256

_ALIAS = re.compile(r"[0-9a-fA-F]{32}|.*\0.*", re.ASCII | re.DOTALL)


class BadPattern(ValueError):
    """A pattern cannot be used; the message continues a sentence."""


@dataclass(frozen=True, slots=True)
class Grants:
    """The keys that may be named.

    Attributes:
        names: These exactly.
        prefixes: All that begin with one of these; "" stands for every key.
    """

    names: frozenset[str]
    prefixes: tuple[str, ...]

    def allow(self, key: str) -> bool:
        """Return whether the key may be named."""
        if key in self.names or "" in self.prefixes:
            return True
        return key.startswith(self.prefixes) and not _ALIAS.fullmatch(key)


EVERYTHING = Grants(frozenset(), ("",))


def grants_from(patterns: Iterable[str]) -> Grants:
    """Parse patterns: each is a name, or a prefix and a ``*``.

    Raises:
        BadPattern: There are no patterns or too many, or one is empty, too long, or
            has a ``*`` elsewhere than at its end.
    """
    texts = list(patterns)
    if not 0 < len(texts) <= MAX_PATTERNS:
        raise BadPattern(f"needs 1 to {MAX_PATTERNS} keys or patterns")
    for text in texts:
        _check(text)
    return Grants(
        names=frozenset(text for text in texts if not text.endswith("*")),
        prefixes=tuple(text[:-1] for text in texts if text.endswith("*")),
    )


def _check(text: str) -> None:
    if not text:
        raise BadPattern("has an empty key; write * for every key")
    if len(text) > MAX_PATTERN_LENGTH:
        raise BadPattern(f"has a key of more than {MAX_PATTERN_LENGTH} characters")
    if "*" in text[:-1]:
        raise BadPattern("has a * that is not at the end of a key")
