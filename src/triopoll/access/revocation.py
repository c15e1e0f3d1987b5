"""Follow the file of revoked tickets, so that revoking one needs no restart."""

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

# What tells one state of a file from another: a file that is put in its place, appended
# to, or written anew differs in one of these.
_Signature: TypeAlias = tuple[int, int, int]


async def follow_revoked(
    settings: Settings, tickets: TicketReader, *, interval: float = 5.0
) -> None:
    """Read the file of revoked tickets whenever it has changed.

    A file that cannot be read leaves revoked what was, and is an error in the log.

    Args:
        settings: Where the file is. Without one there is nothing to do.
        tickets: Its `revoked` is replaced.
        interval: Seconds between two looks.

    Cancellation:
        What was read last stays.
    """
    path = revoked_path(settings)
    if path is None:
        await trio.lowlevel.checkpoint()
        return
    # What was read at the start may have been older than what is there now.
    seen: _Signature | None = None
    while True:
        state = await trio.to_thread.run_sync(_signature, path)
        if state != seen:
            seen = state
            try:
                revoked = await trio.to_thread.run_sync(read_revoked, settings)
            except SettingsError as error:
                logger.error(
                    "%s; revoked are the %d before", error, len(tickets.revoked)
                )
            else:
                tickets.revoked = revoked
        # No file system tells of changes in a way that holds everywhere.
        await trio.sleep(interval)


def _signature(path: str) -> _Signature:
    try:
        state = os.stat(path)
    except OSError:
        return (0, 0, 0)
    return (state.st_ino, state.st_size, state.st_mtime_ns)
