"""What the tests of triopoll share: no log of any of them has a secret."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from tests.triopoll.leaks import LeakWatch


@pytest.fixture(autouse=True)
def no_leaks() -> Iterator[None]:
    """Fail a test in which a secret or data of a state was logged."""
    watch = LeakWatch()
    root = logging.getLogger()
    root.addHandler(watch)
    yield
    root.removeHandler(watch)
    assert watch.found == []
