"""Convert any name to the 16 bytes of a key or an id.

The rule is that of the server's text dialect and of the Go client, so a name
means the same key here as in ``redis-cli``: short names are padded on the left
with zero bytes, 16 bytes stay as they are, 32 hexadecimal digits are
decoded, everything else is hashed with MD5. The Java, .NET and Rust clients
hash 32 hexadecimal digits instead of decoding them; with those, share keys of
another length or pass the 16 bytes.

Source: snower/slock 2.1.12, ``server/protocol.go`` (``ConvertTextLockId``) and
``client/lock.go``.
"""

from __future__ import annotations

import hashlib
import re

from .._arguments import check_type, shown
from .._errors import LocalProtocolError
from ._constants import ID_SIZE

_NAME_TYPES = (str, bytes, bytearray, memoryview)
_HEX_ID = re.compile(rb"[0-9a-fA-F]{32}")


def to_key(name: str | bytes) -> bytes:
    """Convert a name to its key.

    Args:
        name: Text (encoded as UTF-8) or bytes, of any length; 16 bytes are the
            key itself.

    Returns:
        Exactly 16 bytes.

    Raises:
        TypeError: ``name`` is neither text nor bytes.
        LocalProtocolError: ``name`` is text that UTF-8 cannot carry (a lone
            surrogate).
    """
    # Without this check an int would be a key: so many zero bytes.
    if not isinstance(name, _NAME_TYPES):  # pyright: ignore[reportUnnecessaryIsInstance]
        check_type(name, _NAME_TYPES, "a key", "text or bytes")  # type: ignore[unreachable]
    try:
        raw = name.encode() if isinstance(name, str) else bytes(name)
    except UnicodeEncodeError as error:
        raise LocalProtocolError(
            f"a key must be text that UTF-8 can carry, not {name!r}"
        ) from error
    # In the server's order: 16 bytes are a key even if they are hexadecimal digits.
    if len(raw) == ID_SIZE:
        return raw
    if len(raw) < ID_SIZE:
        return raw.rjust(ID_SIZE, b"\0")
    if _HEX_ID.fullmatch(raw):
        return bytes.fromhex(raw.decode("ascii"))
    return hashlib.md5(raw, usedforsecurity=False).digest()


class NamedKey(bytes):
    """The 16 bytes of a key that know the name which they were made from.

    A long name is hashed, so errors could not tell it from the bytes alone.
    """

    name: str | bytes


def describe_key(key: bytes) -> str:
    """Return a key as its user gave it, or the hexadecimal digits of its bytes."""
    return shown(key.name) if isinstance(key, NamedKey) else key.hex()


def key_of(name: str | bytes) -> NamedKey:
    """Convert a caller's name to its key: as `to_key`, but not the empty name.

    On the wire the empty name is the key of 16 zero bytes. A caller has it from a
    variable that was not filled in, so it is refused.

    Raises:
        TypeError: ``name`` is neither text nor bytes.
        ValueError: It is empty.
        LocalProtocolError: It is text that UTF-8 cannot carry.
    """
    key = to_key(name)
    if not name:
        raise ValueError(f"a key must not be empty, unlike {name!r}")
    named = NamedKey(key)
    named.name = name
    return named
