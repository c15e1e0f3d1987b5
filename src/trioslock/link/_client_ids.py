"""The client ids of a session's connections.

A real server that has a result for a connection that is closed hands it to the
connection that is registered under the same client id, and from then on takes that
one for the connection of the lock: keep-alive waits and leases go on with it. So a
node that stopped leading would grant a wait that its client gave up there to the
client's next connection, and keep the key for as long as the client lives.
Each connection therefore has an id of its own, and nothing of one outlives it.
"""

from __future__ import annotations

import secrets

from ..protocol import ID_SIZE

_KEPT = ID_SIZE // 2


class ClientIds:
    """Ids of one client: the one given first, then others with the same first half.

    Args:
        client_id: The id of the first connection.
    """

    def __init__(self, client_id: bytes) -> None:
        self._given = client_id
        self._used = False

    def next(self) -> bytes:
        """Return an id for one connection, different from all others."""
        if not self._used:
            self._used = True
            return self._given
        return self._given[:_KEPT] + secrets.token_bytes(ID_SIZE - _KEPT)
