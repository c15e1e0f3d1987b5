"""The text dialect, which is RESP: request words to commands, results to replies.

Import the package and write ``resp.bulk(...)``: its names are short.
"""

from __future__ import annotations

from ._framing import (
    MAX_REQUEST_SIZE,
    MAX_REQUEST_WORDS,
    NIL,
    OK,
    PONG,
    CommandError,
    RespReader,
    RespRequest,
    array,
    bulk,
    bulk_number,
    error,
    integer,
    listing,
    parse_integer,
    read_integer,
    simple,
)
from ._lock import (
    ARGS_COUNT_ERROR,
    NO_ID,
    RespState,
    lock_reply,
    read_lock,
    read_value,
)
from ._values import READERS, WRITERS, Reader, Responder, Writer

__all__ = [
    "ARGS_COUNT_ERROR",
    "MAX_REQUEST_SIZE",
    "MAX_REQUEST_WORDS",
    "NIL",
    "NO_ID",
    "OK",
    "PONG",
    "READERS",
    "WRITERS",
    "CommandError",
    "Reader",
    "Responder",
    "RespReader",
    "RespRequest",
    "RespState",
    "Writer",
    "array",
    "bulk",
    "bulk_number",
    "error",
    "integer",
    "listing",
    "lock_reply",
    "parse_integer",
    "read_integer",
    "read_lock",
    "read_value",
    "simple",
]
