"""Peers: the senders of commands, and the recipients of results after they have gone.

A claim belongs to the peer that requested it. When that peer is gone, its results
go to the peer that is registered under the same client id at that moment. From then
on that peer is its *successor*: it gets the results and its connection keeps the
claim alive.

Source: snower/slock 2.1.12, ``server/protocol.go`` (``ProxyServerProtocol``,
``BinaryServerProtocol.Init`` and ``Close``).
"""

from __future__ import annotations

from ..protocol import LockCommand


class Peer:
    """One connection; it outlives the connection as the owner of claims."""

    __slots__ = ("client_id", "id", "open", "subscribed", "successor", "wills")

    def __init__(self, peer_id: int) -> None:
        self.id = peer_id
        self.open = True
        self.client_id: bytes | None = None
        self.successor: Peer | None = None
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
        """Number of client ids that are registered."""
        return len(self._by_client_id)

    def add(self) -> Peer:
        """Open a peer under a number never used before."""
        self._serial += 1
        peer = self._open[self._serial] = Peer(self._serial)
        return peer

    def get(self, peer_id: int) -> Peer:
        """Return an open peer.

        Raises:
            KeyError: No open peer has this number.
        """
        return self._open[peer_id]

    def register(self, peer: Peer, client_id: bytes) -> bool:
        """Register a peer under a client id; return whether it replaces another."""
        # A second INIT with the same id must not find the peer itself.
        self._unregister(peer)
        other = self._by_client_id.get(client_id)
        peer.client_id = client_id
        self._by_client_id[client_id] = peer
        return other is not None

    def close(self, peer_id: int) -> Peer:
        """Remove a peer.

        Raises:
            KeyError: No open peer has this number.
        """
        peer = self._open.pop(peer_id)
        peer.open = False
        self._unregister(peer)
        return peer

    def recipient(self, owner: Peer) -> Peer | None:
        """Return the peer that gets a result for ``owner``, None if there is none."""
        if owner.open:
            return owner
        if owner.successor is not None and owner.successor.open:
            return owner.successor
        if owner.client_id is None:
            return None
        # Kept with the owner: from now on its connection keeps the claims alive.
        owner.successor = self._by_client_id.get(owner.client_id)
        return owner.successor

    @staticmethod
    def keeps_alive(owner: Peer) -> bool:
        """Return whether a connection keeps the claims of ``owner`` alive.

        A peer with the same client id does so from the first result on that has
        gone to it.
        """
        return owner.open or (owner.successor is not None and owner.successor.open)

    def _unregister(self, peer: Peer) -> None:
        client_id = peer.client_id
        if client_id is not None and self._by_client_id.get(client_id) is peer:
            del self._by_client_id[client_id]
