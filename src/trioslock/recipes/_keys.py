"""Further keys of a recipe, derived from the one that its user names."""

from __future__ import annotations

from ..client import Key
from ..protocol import key_of, to_key

DEFAULT_LEASE = 15.0
"""Seconds of a recipe's lease. Not `SESSION`: a real server does not end the session of
a frozen process."""


def derived_key(key: Key, purpose: str) -> bytes:
    """Return a key that no name of a user gives, the same in every program.

    Raises:
        TypeError: The key is neither text nor bytes.
        ValueError: It is empty.
    """
    return to_key(f"recipes:{purpose}:".encode() + key_of(key))
