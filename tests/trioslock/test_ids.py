"""Unpredictable ids, made a page at a time."""

from __future__ import annotations

import os

import pytest

from trioslock._ids import random_ids
from trioslock.protocol import ID_SIZE


def test_ids_are_different_and_of_the_right_size() -> None:
    """Also those of two makers."""
    makers = random_ids(), random_ids()
    ids = [make() for make in makers for _ in range(500)]
    assert {len(each) for each in ids} == {ID_SIZE}
    assert len(set(ids)) == 1000
    assert len({each[:8] for each in ids}) == 1000


def test_the_system_is_asked_once_for_64_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    """And gives all their bytes, in order."""
    pages: list[bytes] = []

    def urandom(size: int) -> bytes:
        pages.append(bytes(len(pages) + n // ID_SIZE for n in range(size)))
        return pages[-1]

    monkeypatch.setattr(os, "urandom", urandom)
    make = random_ids()
    assert pages == []
    ids = [make() for _ in range(64)]
    assert len(pages) == 1
    assert b"".join(ids) == pages[0]
    make()
    assert len(pages) == 2
