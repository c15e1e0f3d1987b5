"""Notice clients that leave while the application is at work on their requests.

Reading is one way to notice, but it takes a task for each parked request that does
nothing else. The kernel knows it for all sockets together: an epoll set of our own
reports each peer that has closed or reset its connection, whatever it had sent before,
and one task waits for that set.

Where there is no epoll (it is Linux's) nothing is noticed here, and applications find
out in ASGI's ``receive()`` as everywhere.
"""

from __future__ import annotations

import contextlib
import select
import sys
from collections.abc import Callable, Generator

import trio

__all__ = ["Disconnects", "open_departures"]

_MOST_AT_ONCE = 256


class Disconnects:
    """The sockets whose peers may leave."""

    def __init__(self) -> None:
        self._callbacks: dict[int, Callable[[], None]] = {}
        self._epoll = _new_epoll()

    @property
    def noticed(self) -> bool:
        """Return whether departures are noticed at all."""
        return self._epoll is not None

    def __repr__(self) -> str:
        state = f"{len(self._callbacks)} sockets" if self.noticed else "not noticed"
        return f"<Disconnects: {state}>"

    def close(self) -> None:
        """Notice nothing any more."""
        if self._epoll is not None:
            self._epoll.close()

    def watch(self, descriptor: int, callback: Callable[[], None]) -> None:
        """Call `callback` once, should the peer of this socket leave.

        A peer that closes only its sending side counts as gone, see
        `ClientStream.receive`.

        Args:
            descriptor: Of a connected socket; `unwatch` it when it is closed, before
                anything is awaited.
            callback: Is called from the task that runs `run`; quick, does not raise.
        """
        if self._epoll is not None:
            self._callbacks[descriptor] = callback
            # Edge-triggered, and no EPOLLIN: what the peer sends is of no interest.
            self._epoll.register(descriptor, select.EPOLLRDHUP | select.EPOLLET)

    def unwatch(self, descriptor: int) -> None:
        """Call back no more; a socket that is not watched is left alone."""
        if self._callbacks.pop(descriptor, None) is not None:
            # A socket that has been closed has left the set by itself.
            with contextlib.suppress(OSError, ValueError):
                assert self._epoll is not None
                self._epoll.unregister(descriptor)

    async def run(self) -> None:
        """Call back until cancelled.

        Cancellation:
            Nothing is noticed any more.
        """
        if self._epoll is None:
            return
        while True:
            await trio.lowlevel.wait_readable(self._epoll.fileno())
            for descriptor, _ in self._epoll.poll(0, _MOST_AT_ONCE):
                callback = self._callbacks.get(descriptor)
                if callback is not None:
                    callback()


def _new_epoll() -> select.epoll | None:
    return select.epoll() if sys.platform == "linux" else None


@contextlib.contextmanager
def open_departures() -> Generator[Disconnects]:
    """Open a set, and close it behind the block; somebody has to `run` it."""
    departures = Disconnects()
    try:
        yield departures
    finally:
        departures.close()
