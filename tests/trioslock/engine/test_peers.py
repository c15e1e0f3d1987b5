"""Peers, and the successors of those that have gone."""

from __future__ import annotations

import pytest

from trioslock.engine._peers import Peers

ID = b"client".ljust(16)


def test_numbers_are_never_used_again() -> None:
    """A result for a peer that has gone can reach no other one."""
    peers = Peers()
    first = peers.add()
    peers.close(first.id)
    second = peers.add()
    assert second.id != first.id
    assert len(peers) == 1
    with pytest.raises(KeyError):
        peers.get(first.id)
    with pytest.raises(KeyError):
        peers.close(first.id)


def test_the_last_one_registered_speaks() -> None:
    """Under one client id, for claims of a peer that has gone."""
    peers = Peers()
    owner, other = peers.add(), peers.add()
    assert not peers.register(owner, ID)
    assert peers.register(other, ID)
    assert peers.recipient(owner) is owner
    peers.close(owner.id)
    assert peers.recipient(owner) is other
    assert peers.client_ids == 1


def test_there_is_no_successor_without_a_client_id() -> None:
    """Nor for an id under which no peer is registered."""
    peers = Peers()
    nameless, named = peers.add(), peers.add()
    peers.register(named, ID)
    peers.close(nameless.id)
    peers.close(named.id)
    assert peers.recipient(nameless) is None
    assert peers.recipient(named) is None
    assert peers.client_ids == 0


def test_closing_one_that_was_replaced_keeps_the_other() -> None:
    """Only the registered peer takes its client id with it."""
    peers = Peers()
    old, new = peers.add(), peers.add()
    peers.register(old, ID)
    peers.register(new, ID)
    peers.close(old.id)
    assert peers.client_ids == 1
    peers.register(new, b"another id".ljust(16))
    assert peers.client_ids == 1
    assert peers.recipient(old) is None


def test_an_heir_keeps_claims_alive_once_it_has_spoken() -> None:
    """And another one is looked for when it goes as well."""
    peers = Peers()
    owner = peers.add()
    peers.register(owner, ID)
    assert peers.keeps_alive(owner)
    peers.close(owner.id)
    successor = peers.add()
    peers.register(successor, ID)
    assert not peers.keeps_alive(owner)
    assert peers.recipient(owner) is successor
    assert peers.keeps_alive(owner)
    assert peers.recipient(owner) is successor
    peers.close(successor.id)
    assert not peers.keeps_alive(owner)
    assert peers.recipient(owner) is None
