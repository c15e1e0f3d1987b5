"""What the commands print: keys and values that are safe on a terminal, and JSON."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from math import isinf

from ..protocol import Data, to_key

__all__ = [
    "Record",
    "add_json",
    "address_text",
    "age",
    "key_text",
    "safe",
    "show",
    "show_bytes",
    "show_data",
    "show_json",
    "shown",
    "typed",
    "word",
]

Record = Mapping[str, object]
"""An object of JSON."""


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add ``--json``."""
    parser.add_argument("--json", action="store_true", help="print JSON, one line each")


def safe(text: str) -> str:
    """Return text whose control characters are escaped by a backslash.

    They are what moves the cursor, sets the title of a window, or lets text run from
    right to left; a key or a value of another program may have them.
    """
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode()
        for char in text
    )


def word(raw: bytes) -> str:
    """Return bytes as text; those that are not UTF-8 are escaped."""
    return raw.decode("utf-8", "backslashreplace")


def key_text(key: bytes) -> str:
    """Return a key as it may be given on a command line: its name, or 32 digits."""
    try:
        name = key.lstrip(b"\0").decode()
    except UnicodeDecodeError:
        return key.hex()
    return name if name.isprintable() and name and to_key(name) == key else key.hex()


def address_text(address: tuple[str, int]) -> str:
    """Return a host and a port as they stand in a URL."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def age(seconds: float | None) -> str:
    """Return seconds in at most three figures and a unit; ``-`` for none or never."""
    if seconds is None or isinf(seconds):
        return "-"
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size:.0f}{unit}"
    return f"{max(seconds, 0):.0f}s"


def shown(text: str) -> str:
    """Return text in the characters that stdout has; others are escaped."""
    encoding = sys.stdout.encoding or "utf-8"
    return safe(text).encode(encoding, "backslashreplace").decode(encoding)


def show(text: str) -> None:
    """Print one line, as `shown`."""
    print(shown(text), flush=True)


def show_json(record: Record) -> None:
    """Print one line of JSON, in ASCII."""
    print(json.dumps(record, allow_nan=False), flush=True)


def show_data(data: Data) -> None:
    """Print a value: an item of an array or an entry of a map is one line.

    On a terminal control characters are escaped; elsewhere bytes are as they are.
    """
    value = data.value
    match value:
        case int():
            lines = [b"%d" % value]
        case tuple():
            lines = list(value)
        case dict():
            lines = [b"%s=%s" % entry for entry in value.items()]
        case _:
            lines = [value]
    show_bytes(lines)


def show_bytes(lines: Sequence[bytes]) -> None:
    """Print lines as their bytes are; on a terminal control characters are escaped."""
    if sys.stdout.isatty():
        for line in lines:
            show(word(line))
    else:
        sys.stdout.flush()
        sys.stdout.buffer.write(b"".join(line + b"\n" for line in lines))
        sys.stdout.flush()


def typed(data: Data | None) -> Record | None:
    """Return a value as JSON with its type; bytes that are no text as hex digits."""
    if data is None:
        return None
    value = data.value
    match value:
        case int():
            return {"type": "number", "value": value}
        case tuple():
            return {"type": "array", "value": [word(item) for item in value]}
        case dict():
            entries = {word(name): word(item) for name, item in value.items()}
            return {"type": "map", "value": entries}
        case _:
            return _text_or_bytes(value)


def _text_or_bytes(value: bytes) -> Record:
    try:
        return {"type": "text", "value": value.decode()}
    except UnicodeDecodeError:
        return {"type": "bytes", "value": value.hex()}
