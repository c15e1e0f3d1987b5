"""A number of permits, shared by all clients that use the key.

Each grant has a lock id of its own, so only its owner releases it. Other slock
clients release "the first holder" instead; `Semaphore.release` does that, for use
together with them.
"""

from __future__ import annotations

from ._acquirable import Acquirable
from ._handle import CountedHandle, check_count
from ._options import HandleOptions


class Semaphore(CountedHandle, Acquirable):
    """A handle on a key that up to ``permits`` holders have at once.

    It keeps no state and may be shared. All clients that use the key must agree on
    the number: the server grants a permit if both the first holder's number and the
    request's own allow it.

    Args:
        options: The key, and how to ask for it.
        permits: 1 to 65,535.
    """

    def __init__(self, options: HandleOptions, permits: int) -> None:
        super().__init__(options, count=check_count(permits, "permits"))
        self.permits = permits

    def _state(self) -> str:
        return f", {self.permits} permits{super()._state()}"

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
        """Release the permit that was granted first, whichever client holds it.

        The Semaphore of other slock clients calls this a release. To release one's
        own permit, release its grant instead.

        Raises:
            NotHeld: No permit is held.
            ConnectionLost: The connection broke; the outcome is unknown. It is
                not sent again, since that could release another permit.
            trio.ClosedResourceError: The client is closed.

        Cancellation:
            It may have been done.
        """
        await self.release_head()
