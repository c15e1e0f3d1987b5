"""A session's world, and one connection in it."""

from __future__ import annotations

import pytest
from tests.trioslock.server.world import SessionWire, SessionWorld


@pytest.fixture
def world() -> SessionWorld:
    return SessionWorld()


@pytest.fixture
def wire(world: SessionWorld) -> SessionWire:
    return world.connect()
