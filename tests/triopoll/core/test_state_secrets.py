"""Keys, secrets and numbers of states."""

from __future__ import annotations

import hashlib

from triopoll.core.state_secrets import digest_of, draw_numbers, new_token


def test_tokens_differ() -> None:
    """Each has the 22 characters of 128 bits."""
    tokens = {new_token() for _ in range(1000)}
    assert len(tokens) == 1000
    assert {len(token) for token in tokens} == {22}


def test_a_digest_is_that_of_the_text() -> None:
    """SHA-256, as the decision record says."""
    assert digest_of("secret") == hashlib.sha256(b"secret").digest()


def test_numbers_have_two_digits_and_differ() -> None:
    """Each place has the right one at times, so it tells nothing."""
    places = set()
    for _ in range(300):
        numbers, right = draw_numbers()
        assert len({*numbers}) == 3
        assert all(10 <= number < 100 for number in numbers)
        places.add(numbers.index(right))
    assert places == {0, 1, 2}
