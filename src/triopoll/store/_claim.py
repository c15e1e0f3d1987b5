"""One process of a crew may keep messages in memory; a second one finds out here."""

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
    """Another process of this crew keeps messages in memory already."""


@contextlib.contextmanager
def claimed_memory() -> Generator[None, None, None]:
    """Be the only process of a crew that keeps messages in memory.

    Workers of one server share its process group, unless their supervisor says that
    they are a crew; services that are started each for itself by an init system, a
    container or at a shell's prompt have a process group each. The claim is a file
    lock, which ends with the process however that ends.

    Raises:
        MemoryTaken: There is another one.
    """
    crew = os.environ.get(SUPERVISOR_VARIABLE) or str(os.getpgrp())
    path = Path(tempfile.gettempdir()) / f"triopoll-{os.getuid()}-{crew}.lock"
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(path, flags, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise MemoryTaken(f"a process of crew {crew} has it") from None
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
    finally:
        os.close(descriptor)
