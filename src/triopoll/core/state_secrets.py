"""What is random about a state: its key, its secret, and the numbers to match."""

from __future__ import annotations

import hashlib
import secrets

__all__ = ["digest_of", "draw_numbers", "new_token"]

_TOKEN_BYTES = 16
# Two digits each: read aloud and compared at a glance.
_NUMBERS = range(10, 100)
_random = secrets.SystemRandom()


def new_token() -> str:
    """Return 128 random bits as 22 characters: a key, or a secret."""
    return secrets.token_urlsafe(_TOKEN_BYTES)


def digest_of(secret: str) -> bytes:
    """Return what is stored of a secret. It is random, so a plain hash hides it."""
    return hashlib.sha256(secret.encode()).digest()


def draw_numbers() -> tuple[tuple[int, int, int], int]:
    """Return three numbers that differ, for the page, and the right one of them."""
    first, second, third = _random.sample(_NUMBERS, 3)
    numbers = first, second, third
    return numbers, _random.choice(numbers)
