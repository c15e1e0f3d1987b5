"""The server as its connections see it: bounds, and what commands need."""

from __future__ import annotations

import inspect
from dataclasses import FrozenInstanceError, fields

import pytest
from tests.trioslock.server.world import FakeServer

from trioslock.server import Server, ServerLimits
from trioslock.server._context import ClientView, ServerContext

NAMES = [name for name in vars(ServerContext) if not name.startswith("_")]


@pytest.mark.parametrize("server", [Server, FakeServer])
def test_a_server_has_all_that_sessions_need(server: type) -> None:
    """With the same arguments, so that tests of sessions stand for the server."""
    assert len(NAMES) == 5
    for name in NAMES:
        wanted = inspect.signature(getattr(ServerContext, name))
        found = inspect.signature(getattr(server, name))
        assert list(found.parameters) == list(wanted.parameters)
        assert found.return_annotation == wanted.return_annotation


def test_every_bound_is_finite_and_fixed() -> None:
    """There is no unlimited connection by default."""
    limits = ServerLimits()
    for each in fields(limits):
        assert 0 < getattr(limits, each.name) < float("inf")
    with pytest.raises(FrozenInstanceError):
        limits.connections = 1  # type: ignore[misc]


def test_a_view_has_what_client_list_shows() -> None:
    """See ``_client_lines`` of the commands."""
    assert ClientView._fields == (
        *("id", "address", "descriptor", "dialect", "age", "client_id", "commands"),
    )
