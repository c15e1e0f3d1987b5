"""What the tests of stores share."""

from __future__ import annotations

import socket

import pytest
from tests.redis_rigs import Resolver


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Resolver:
    """Names of a test's own, which it may move to another server."""
    resolver = Resolver()
    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    return resolver
