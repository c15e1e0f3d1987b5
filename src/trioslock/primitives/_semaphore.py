"""A number of permits, shared by everybody who uses the key.

Each grant has a lock id of its own, so it is released by its owner and by
nobody else's mistake. Upstream clients release by "the first holder" instead;
`Semaphore.release` is that, for talking to them.
"""

from __future__ import annotations

from ..link import Requester
from ..protocol import UNLIMITED_COUNT
from ._acquirable import Acquirable
from ._flags import NO_FLAGS, Flags
from ._lease import SESSION, Lease


def check_permits(permits: int, name: str) -> int:
    """Return the count that travels for a number of permits: one less.

    Raises:
        ValueError: It is not 1 to 65,535.
    """
    if not 1 <= permits <= UNLIMITED_COUNT:
        raise ValueError(f"{name} must be 1 to {UNLIMITED_COUNT}, not {permits!r}")
    return permits - 1


class Semaphore(Acquirable):
    """A handle on a key that up to ``permits`` holders have at once.

    It keeps no state and may be shared. All who use the key must agree on the
    number: the server admits a newcomer if both the first holder's number and
    its own allow it.

    Args:
        requester: Carries the commands.
        key: Exactly 16 bytes.
        permits: 1 to 65,535.
        db: Database, 0 to 254.
        lease: How long a permit lasts.
        priority: Place in the queue, 0 to 255, highest first. None for the end.
        flags: Wishes that go with each request.
        renew: Renew a lease of seconds while the body of a grant runs.
    """

    def __init__(
        self,
        requester: Requester,
        key: bytes,
        permits: int,
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
            count=check_permits(permits, "permits"),
            priority=priority,
            flags=flags,
            renew=renew,
        )
        self.permits = permits

    def _state(self) -> str:
        return f", {self.permits} permits{super()._state()}"

    async def in_use(self) -> int:
        """Return how many permits are held now, by anybody.

        Raises:
            ConnectionLost: The client does not reconnect.
            trio.ClosedResourceError: The client is closed.

        Cancellation:
            Nothing is left on the server.
        """
        return await self._levels_in_use()

    async def available(self) -> int:
        """Return how many permits are free now.

        Raises:
            ConnectionLost: The client does not reconnect.
            trio.ClosedResourceError: The client is closed.

        Cancellation:
            Nothing is left on the server.
        """
        return max(0, self.permits - await self.in_use())

    async def release(self) -> None:
        """Release the permit that was granted first, whoever holds it.

        This is what the Semaphore of other slock clients calls a release. To
        give back one's own permit, release its grant instead.

        Raises:
            NotHeld: No permit is held.
            ConnectionLost: The connection broke; the outcome is unknown. It is
                not sent again, since that could release another one.
            trio.ClosedResourceError: The client is closed.

        Cancellation:
            It may have been done.
        """
        await self.release_head()
