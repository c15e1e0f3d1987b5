"""The text dialect, gathered: request words to commands, results to replies.

A second door of this package, so that users write ``text.bulk(...)``.
"""

from __future__ import annotations

from ._text import (
    MAX_TEXT_SIZE,
    MAX_TEXT_WORDS,
    NIL,
    OK,
    PONG,
    CommandError,
    TextReader,
    TextRequest,
    array,
    bulk,
    bulk_number,
    error,
    integer,
    listing,
    parse_integer,
    simple,
)
from ._text_lock import (
    ARGS_COUNT_ERROR,
    NO_ID,
    TextState,
    lock_reply,
    read_lock,
    read_value,
)
from ._text_values import READERS, WRITERS, Reader, Responder, Writer

__all__ = [
    "ARGS_COUNT_ERROR",
    "MAX_TEXT_SIZE",
    "MAX_TEXT_WORDS",
    "NIL",
    "NO_ID",
    "OK",
    "PONG",
    "READERS",
    "WRITERS",
    "CommandError",
    "Reader",
    "Responder",
    "TextReader",
    "TextRequest",
    "TextState",
    "Writer",
    "array",
    "bulk",
    "bulk_number",
    "error",
    "integer",
    "listing",
    "lock_reply",
    "parse_integer",
    "read_lock",
    "read_value",
    "simple",
]
