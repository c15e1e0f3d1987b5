"""A server for all tests of one file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from trioslock.testing import SlockServer, open_slock_server


@pytest.fixture(scope="module")
def slock() -> Iterator[SlockServer]:
    with open_slock_server() as server:
        yield server
