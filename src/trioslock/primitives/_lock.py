"""A lock that one holder at a time has, anywhere."""

from __future__ import annotations

from ..link import Requester
from ._acquirable import Acquirable
from ._flags import NO_FLAGS, Flags
from ._lease import SESSION, Lease


class Lock(Acquirable):
    """A handle on a key that one holder at a time has.

    It keeps no state and may be shared: each acquisition has a grant of its own.

    Args:
        requester: Carries the commands.
        key: Exactly 16 bytes.
        db: Database, 0 to 254.
        lease: `SESSION` (as long as the connection), seconds, or ``FOREVER``.
        priority: Place in the queue, 0 to 255, highest first. None for the end.
            All who wait for a key should give one, or none.
        flags: Wishes that go with each request.
        renew: Renew a lease of seconds while the body of a grant runs.
    """

    def __init__(
        self,
        requester: Requester,
        key: bytes,
        *,
        db: int = 0,
        lease: Lease = SESSION,
        priority: int | None = None,
        flags: Flags = NO_FLAGS,
        renew: bool = True,
    ) -> None:
        super().__init__(
            requester,
            key,
            db=db,
            lease=lease,
            priority=priority,
            flags=flags,
            renew=renew,
        )

    async def locked(self) -> bool:
        """Return whether anybody holds the key.

        Raises:
            ConnectionLost: The client does not reconnect.
            trio.ClosedResourceError: The client is closed.

        Cancellation:
            Nothing is left on the server.
        """
        return await self._show() is not None
