"""What no log may hold: the secrets of states, and their data.

Whatever a test receives as ``poll_secret`` is noted by the helpers that receive it; so
is `DATA`, which tests put into states. The logs of this process and of every process
that tests start are searched for all of them.
"""

from __future__ import annotations

import logging
import re
import traceback

__all__ = ["DATA", "LeakWatch", "leaked", "note_secrets"]

DATA = "d4ta-of-a-state"

_SECRET = re.compile(rb'"poll_secret": ?"([A-Za-z0-9_-]{22})"')
_known = {DATA}


def note_secrets(body: bytes) -> None:
    """Note the secrets in a request or a response."""
    _known.update(secret.decode() for secret in _SECRET.findall(body))


def leaked(text: str) -> set[str]:
    """Return which of the known secrets and data a text has."""
    return {secret for secret in _known if secret in text}


class LeakWatch(logging.Handler):
    """Collects what log records leak, whatever their format would show of them."""

    def __init__(self) -> None:
        super().__init__(logging.NOTSET)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        # Extra fields, such as those of JSON lines, are attributes.
        parts = [record.getMessage(), repr(record.__dict__)]
        if record.exc_info:
            parts += traceback.format_exception(record.exc_info[1])
        if any(map(leaked, parts)):
            self.found.append(f"{record.name}: {record.getMessage()[:200]}")
