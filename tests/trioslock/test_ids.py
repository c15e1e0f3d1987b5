from __future__ import annotations

import os

import pytest

from trioslock import _ids
from trioslock._ids import random_ids
from trioslock.protocol import ID_SIZE


def test_ids_are_fresh_and_of_the_right_size() -> None:
    make = random_ids()
    ids = [make() for _ in range(1000)]
    assert {len(each) for each in ids} == {ID_SIZE}
    assert len(set(ids)) == 1000


def test_two_sources_share_nothing() -> None:
    one, other = random_ids(), random_ids()
    assert not {one() for _ in range(100)} & {other() for _ in range(100)}


def test_a_page_of_random_bytes_serves_many_ids(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every byte of it is used once."""
    pages: list[bytes] = []

    def take_page(size: int) -> bytes:
        pages.append(random(size))
        return pages[-1]

    random = os.urandom
    monkeypatch.setattr(_ids.os, "urandom", take_page)
    make = random_ids()
    ids = [make() for _ in range(200)]
    assert len(pages) == 4
    assert b"".join(pages).startswith(b"".join(ids))
