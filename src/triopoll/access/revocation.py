"""Reload the file of revoked tickets when it changes, without a restart."""

from __future__ import annotations

import logging
import os
from typing import TypeAlias

import trio

from ..settings import Settings, SettingsError
from .configuration import read_revoked, revoked_path
from .tickets import TicketReader

__all__ = ["follow_revoked"]

logger = logging.getLogger("triopoll.access")

# Inode, size and modification time: a file that is replaced, appended to or rewritten
# differs in at least one of them.
_Signature: TypeAlias = tuple[int, int, int]


async def follow_revoked(
    settings: Settings, tickets: TicketReader, *, interval: float = 5.0
) -> None:
    """Read the file of revoked tickets whenever it has changed.

    If the file cannot be read, the revoked tickets stay the same; an error is logged.

    Args:
        settings: Where the file is. Without one there is nothing to do.
        tickets: Its `revoked` is replaced.
        interval: Seconds between two checks of the file.

    Cancellation:
        What was read last stays.
    """
    path = revoked_path(settings)
    if path is None:
        await trio.lowlevel.checkpoint()
        return
    # The file may have changed since the settings were read: read it again at once.
    seen: _Signature | None = None
    while True:
        state = await trio.to_thread.run_sync(_signature, path)
        if state != seen:
            seen = state
            try:
                revoked = await trio.to_thread.run_sync(read_revoked, settings)
            except SettingsError as error:
                logger.error(
                    "%s; the %d tickets revoked before stay revoked",
                    error,
                    len(tickets.revoked),
                )
            else:
                tickets.revoked = revoked
        # Polling works on every file system, network mounts included.
        await trio.sleep(interval)


def _signature(path: str) -> _Signature:
    try:
        state = os.stat(path)
    except OSError:
        return (0, 0, 0)
    return (state.st_ino, state.st_size, state.st_mtime_ns)
