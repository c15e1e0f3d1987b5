"""What a command says of the server's history of writes.

Only the connection that sends a command knows which history the server has. So a
command has placeholders, which the connection fills in.
"""

from __future__ import annotations

import threading
import time

__all__ = ["HISTORY", "HISTORY_MAY_LACK", "LastWrite", "SinceLastWrite"]

# The name of the history, and "1" if that may lack writes that had been answered.
HISTORY = "\0history"
HISTORY_MAY_LACK = "\0history may lack writes"


class LastWrite:
    """The last write that was answered to this process, of those of one kind.

    The thread that sends commands notes it, so each command that is sent later knows of
    it. Whoever reads may forget it once Redis knows of it. It makes two placeholders:

    Attributes:
        for_writes: Becomes how long ago the write was (ms), if it was to another
            history than that of the server, and else the empty text. When the command
            is answered, it is the last write.
        for_reads: Becomes the same, and the command is no write.
    """

    def __init__(self) -> None:
        self._history = ""
        self._at = 0.0
        self._lock = threading.Lock()
        self.for_writes = SinceLastWrite(self, is_write=True)
        self.for_reads = SinceLastWrite(self, is_write=False)

    def __repr__(self) -> str:
        return f"<LastWrite: to {self._history!r}>"

    def note(self, history: str) -> None:
        """Note that a write was answered by a server with a history; "": unknown."""
        if history:
            with self._lock:
                self._history, self._at = history, time.monotonic()

    def forget_unless(self, history: str) -> None:
        """Forget a write to another history than this one, which knows of it."""
        with self._lock:
            if self._history != history:
                self._history = ""

    def since(self, history: str) -> str:
        """Return what stands in a command to a server with a history."""
        if self._history in ("", history):
            return ""
        # Rounded down, as Redis does with its times: so it is not too early.
        return str(int((time.monotonic() - self._at) * 1000))


class SinceLastWrite(str):
    """A placeholder; see `LastWrite`."""

    last: LastWrite
    is_write: bool
    __slots__ = ("is_write", "last")

    def __new__(cls, last: LastWrite, *, is_write: bool) -> SinceLastWrite:
        """Return a placeholder for `last`."""
        self = super().__new__(cls, "\0last write")
        self.last, self.is_write = last, is_write
        return self
