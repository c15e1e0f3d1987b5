"""What a server answers on one connection, without I/O.

`Session` takes the bytes of one connection and makes commands, lists and replies of
them; the engine behind its port does the locking. It knows both dialects. Whoever
does the I/O gives it bytes and takes bytes, see `Session`.
"""

from __future__ import annotations

from ._lists import answer_call
from ._ports import ClientView, EnginePort, Surroundings
from ._session import OUTPUT_PAUSE, Session
from ._text_commands import VERSION

__all__ = [
    "OUTPUT_PAUSE",
    "VERSION",
    "ClientView",
    "EnginePort",
    "Session",
    "Surroundings",
    "answer_call",
]
