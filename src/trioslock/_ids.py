"""Unpredictable ids, at a tenth of a system call each."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable

from .protocol import ID_SIZE

_PAGE = 64 * ID_SIZE


def random_ids() -> Callable[[], bytes]:
    """Return a function that makes fresh ids.

    It gets its random bytes from the system in pages: a call for each id would be a
    large part of the cost of a text command.
    """
    pages = (os.urandom(_PAGE) for _ in itertools.repeat(None))
    return itertools.chain.from_iterable(map(_split, pages)).__next__


def _split(page: bytes) -> list[bytes]:
    return [page[at : at + ID_SIZE] for at in range(0, len(page), ID_SIZE)]
