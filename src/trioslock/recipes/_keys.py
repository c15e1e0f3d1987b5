"""What the recipes share about their keys: names, leases, and what is logged."""

from __future__ import annotations

from dataclasses import replace

from ..client import Database, Key
from ..primitives import Flags
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


def logged_at_once(db: Database) -> Flags:
    """Return the flags of a database, so that a grant outlives a crash of the server.

    By default the server logs a grant after a while, and one with a short lease never.
    """
    log = "at-once" if db.flags.log == "default" else db.flags.log
    return replace(db.flags, log=log)
