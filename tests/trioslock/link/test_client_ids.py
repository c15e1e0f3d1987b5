"""The client ids of a session's connections."""

from __future__ import annotations

from trioslock.link._client_ids import ClientIds


def test_the_first_connection_has_the_given_id() -> None:
    """A caller finds it in the server's list of connections."""
    assert ClientIds(bytes(range(16))).next() == bytes(range(16))


def test_no_connection_has_the_id_of_another() -> None:
    """All share the first half, so that a person sees whose they are."""
    ids = ClientIds(bytes(range(16)))
    made = [ids.next() for _ in range(100)]
    assert len(set(made)) == 100
    assert {client_id[:8] for client_id in made} == {bytes(range(8))}
