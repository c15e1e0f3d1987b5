"""Notice clients that leave while the application is at work on their requests.

Reading would notice it too, but takes a task for each parked request that does nothing
else. The kernel knows it for all sockets together: one epoll set, beside the one of
trio, reports each peer that has closed or reset its connection, whatever it had sent
before, and one task waits for that set.

Where there is no epoll (it is Linux's) nothing is noticed here, and applications find
out in ASGI's ``receive()``, as under other servers.
"""

from __future__ import annotations

import contextlib
import select
import sys
from collections.abc import Callable, Generator

import trio

__all__ = ["Disconnects", "open_disconnects"]

_MOST_AT_ONCE = 256


class Disconnects:
    """The sockets whose peers are watched."""

    def __init__(self) -> None:
        self._callbacks: dict[int, Callable[[], None]] = {}
        self._epoll = _new_epoll()

    @property
    def noticed(self) -> bool:
        """Return whether this system can notice disconnects."""
        return self._epoll is not None

    def __repr__(self) -> str:
        state = f"{len(self._callbacks)} sockets" if self.noticed else "not noticed"
        return f"<Disconnects: {state}>"

    def close(self) -> None:
        """Release the epoll set. Nothing is noticed any more."""
        if self._epoll is not None:
            self._epoll.close()

    def watch(self, descriptor: int, callback: Callable[[], None]) -> None:
        """Call `callback` once, should the peer of this socket leave.

        A peer that closes only its sending side counts as gone, see
        `ClientStream.receive`.

        Args:
            descriptor: Of a connected socket. `unwatch` it when it is closed, before
                anything is awaited: the number may be given to the next connection.
            callback: Called from the task that runs `run`; quick, does not raise.
        """
        if self._epoll is not None:
            self._callbacks[descriptor] = callback
            # No EPOLLIN: data is read by the connection's own task. Edge-triggered, so
            # that a peer that stays gone is reported once.
            self._epoll.register(descriptor, select.EPOLLRDHUP | select.EPOLLET)

    def unwatch(self, descriptor: int) -> None:
        """Stop watching a socket; does nothing for one that is not watched."""
        if self._callbacks.pop(descriptor, None) is not None:
            # The kernel removes a socket from the set when it is closed.
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
def open_disconnects() -> Generator[Disconnects]:
    """Open an epoll set for the block. A task inside it has to call `run`."""
    disconnects = Disconnects()
    try:
        yield disconnects
    finally:
        disconnects.close()
