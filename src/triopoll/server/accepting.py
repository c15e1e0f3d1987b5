"""Accept clients: one loop for each listener, which no lack of resources ends."""

from __future__ import annotations

import errno
import logging
import math
from collections.abc import Callable
from typing import TypeAlias

import trio

from .binding import BACKLOG, url_of

__all__ = ["Start", "accept_clients", "accept_waiting"]

logger = logging.getLogger("triopoll.serving")

Start: TypeAlias = Callable[[trio.SocketStream], None]

# The process or the system has no descriptor or no memory for one more socket.
_NO_RESOURCES = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))
# Seconds until the next try. Connections that end give back what is missing.
_PAUSE = 0.1
# Seconds between two log lines about that.
_LOG_INTERVAL = 60.0
# Seconds after which the kernel's queue counts as empty.
_EMPTY_AFTER = 0.005


async def accept_clients(listener: trio.SocketListener, start: Start) -> None:
    """Accept clients until cancelled.

    Args:
        listener: Stays open.
        start: Called with each client's stream; returns at once and does not fail.

    Cancellation:
        Every client that was accepted has been passed to `start`.
    """
    next_log = -math.inf
    while True:
        try:
            stream = await listener.accept()
        except OSError as error:
            if error.errno not in _NO_RESOURCES:
                raise
            if trio.current_time() >= next_log:
                next_log = trio.current_time() + _LOG_INTERVAL
                logger.error(
                    "cannot accept clients on %s: %s. They wait until connections end; "
                    "raise the limit (LimitNOFILE), or lower --max-connections",
                    *(url_of(listener.socket), error.strerror),
                )
            await trio.sleep(_PAUSE)
        else:
            start(stream)


async def accept_waiting(listener: trio.SocketListener, start: Start) -> None:
    """Accept the clients that are in the kernel's queue, before the listener closes.

    They have a connection and may have sent a request. Closing the listener would reset
    them. New clients may keep the queue from being empty, so the number is limited.

    Args:
        listener: Stays open.
        start: As for `accept_clients`.

    Cancellation:
        As for `accept_clients`.
    """
    for _ in range(BACKLOG):
        stream = None
        with trio.move_on_after(_EMPTY_AFTER):
            try:
                stream = await listener.accept()
            except OSError:
                return  # such as no descriptors: these clients cannot be served
        if stream is None:
            return
        start(stream)
