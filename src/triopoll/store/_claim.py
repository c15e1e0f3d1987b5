"""Of the workers of one server, one process may keep messages in memory."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Generator
from pathlib import Path

from triopoll.settings import SUPERVISOR_VARIABLE

__all__ = ["MemoryTaken", "claimed_memory"]


class MemoryTaken(Exception):
    """Another worker of this server keeps messages in memory already."""


@contextlib.contextmanager
def claimed_memory() -> Generator[None, None, None]:
    """Claim the right to keep messages in memory, for the time of the block.

    Workers belong together if their supervisor's environment variable says so, or if
    they share a process group. Services that an init system, a container or a shell
    starts separately have a process group each. The claim is a file lock, which the
    system releases when the process ends, however it ends.

    Raises:
        MemoryTaken: Another worker has it.
    """
    server = os.environ.get(SUPERVISOR_VARIABLE) or str(os.getpgrp())
    path = Path(tempfile.gettempdir()) / f"triopoll-{os.getuid()}-{server}.lock"
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(path, flags, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise MemoryTaken(f"another worker of server {server} has it") from None
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
    finally:
        os.close(descriptor)
