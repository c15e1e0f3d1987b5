"""Peers: who sends commands, and who gets the results after they have gone.

A claim belongs to the peer that asked for it. When that peer is gone, results
go to whoever is registered under the same client id at that moment, and from
then on that peer speaks for the claim: its results and its keep-alive.

Source: snower/slock 2.1.12, ``server/protocol.go`` (``ProxyServerProtocol``,
``BinaryServerProtocol.Init`` and ``Close``).
"""

from __future__ import annotations

from ..protocol import LockCommand


class Peer:
    """One connection, or what is left of it while a claim belongs to it."""

    __slots__ = ("client_id", "heir", "id", "open", "subscribed", "wills")

    def __init__(self, peer_id: int) -> None:
        self.id = peer_id
        self.open = True
        self.client_id: bytes | None = None
        self.heir: Peer | None = None
        self.wills: list[LockCommand] | None = None
        self.subscribed = False


class Peers:
    """All open peers, and the last one registered under each client id."""

    __slots__ = ("_by_client_id", "_open", "_serial")

    def __init__(self) -> None:
        self._serial = 0
        self._open: dict[int, Peer] = {}
        self._by_client_id: dict[bytes, Peer] = {}

    def __len__(self) -> int:
        return len(self._open)

    @property
    def client_ids(self) -> int:
        """How many client ids are registered."""
        return len(self._by_client_id)

    def add(self) -> Peer:
        """Open a peer under a number never used before."""
        self._serial += 1
        peer = self._open[self._serial] = Peer(self._serial)
        return peer

    def get(self, peer_id: int) -> Peer:
        """Return an open peer.

        Raises:
            KeyError: There is none of this number.
        """
        return self._open[peer_id]

    def register(self, peer: Peer, client_id: bytes) -> bool:
        """Put a peer under a client id and return whether another one was there."""
        self._unregister(peer)
        other = self._by_client_id.get(client_id)
        peer.client_id = client_id
        self._by_client_id[client_id] = peer
        return other is not None

    def close(self, peer_id: int) -> Peer:
        """Take a peer out.

        Raises:
            KeyError: There is none of this number.
        """
        peer = self._open.pop(peer_id)
        peer.open = False
        self._unregister(peer)
        return peer

    def speaker(self, owner: Peer) -> Peer | None:
        """Return who gets a result for ``owner``: itself, an heir, or nobody."""
        if owner.open:
            return owner
        if owner.heir is not None and owner.heir.open:
            return owner.heir
        if owner.client_id is None:
            return None
        owner.heir = self._by_client_id.get(owner.client_id)
        return owner.heir

    @staticmethod
    def keeps_alive(owner: Peer) -> bool:
        """Say whether a connection stands behind the claims of ``owner``.

        One that only has the same client id does not, as long as no result has
        gone to it.
        """
        return owner.open or (owner.heir is not None and owner.heir.open)

    def _unregister(self, peer: Peer) -> None:
        client_id = peer.client_id
        if client_id is not None and self._by_client_id.get(client_id) is peer:
            del self._by_client_id[client_id]
