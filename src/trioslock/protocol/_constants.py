"""The numbers of the wire, each with its source, in their wire spelling.

Everything here is a fact of the slock protocol: versions and magic of a frame,
command types, flags and result codes. Names that look misspelled (``EXPRIED``,
``SUCCED``, ``UNOWN``) are the wire spelling: the text dialect sends them, and other
clients document them. The rest of the code uses the words of the glossary: lease,
holder, waiter, grant.

Source: snower/slock 2.1.12, ``protocol/command.go``.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag

MAGIC = 0x56
VERSION = 0x01
FRAME_SIZE = 64
ID_SIZE = 16
"""Bytes of a request id, lock id, lock key and client id."""

MAX_DATA_SIZE = 1_048_576
"""Largest length field of a data frame or of CALL content the server accepts."""

MAX_DATABASE = 254
"""Highest database number; 255 is refused with UNKNOWN_DB."""

UNLIMITED_COUNT = 0xFFFF
"""Count of a lock that any number of holders may share."""

MAX_UINT16 = 0xFFFF
MAX_RCOUNT = 0xFF


class CommandType(IntEnum):
    """Byte 2 of every binary frame."""

    INIT = 0
    LOCK = 1
    UNLOCK = 2
    STATE = 3
    ADMIN = 4
    PING = 5
    QUIT = 6
    CALL = 7
    WILL_LOCK = 8
    WILL_UNLOCK = 9
    LEADER = 10
    SUBSCRIBE = 11
    PUBLISH = 12


class ResultCode(IntEnum):
    """Byte 19 of every binary result. ``SUCCED`` and ``UNOWN`` are wire spelling."""

    SUCCED = 0
    UNKNOWN_MAGIC = 1
    UNKNOWN_VERSION = 2
    UNKNOWN_DB = 3
    UNKNOWN_COMMAND = 4
    LOCKED_ERROR = 5
    UNLOCK_ERROR = 6
    UNOWN_ERROR = 7
    TIMEOUT = 8
    EXPRIED = 9
    STATE_ERROR = 10
    ERROR = 11
    LOCK_ACK_WAITING = 12


class LockFlag(IntFlag):
    """Flag byte of LOCK."""

    SHOW = 0x01
    UPDATE = 0x02
    FROM_AOF = 0x04
    CONCURRENT_CHECK = 0x08
    TREE = 0x10
    DATA = 0x20


class UnlockFlag(IntFlag):
    """Flag byte of UNLOCK."""

    FIRST = 0x01
    CANCEL_WAIT = 0x02
    FROM_AOF = 0x04
    TO_LOCK_WAIT = 0x08
    TREE = 0x10
    DATA = 0x20


class TimeoutFlag(IntFlag):
    """Flag word beside the timeout of a LOCK (its wait)."""

    NOT_WHEN_DATA = 0x0008
    RCOUNT_IS_PRIORITY = 0x0010
    PUBLISH = 0x0020
    MINUTES = 0x0040
    REVERSE_KEY = 0x0080
    UNRENEW = 0x0100
    WAIT_WHEN_UNLOCKED = 0x0200
    MILLISECONDS = 0x0400
    LOG_LEVEL = 0x0800
    REQUIRE_ACKED = 0x1000
    UPDATE_NO_RESET = 0x2000
    LOCK_ID_IS_VERSION = 0x4000
    KEEPALIVE = 0x8000


class ExpiryFlag(IntFlag):
    """Flag word beside the lease of a LOCK ("expried" on the wire)."""

    PUBLISH = 0x0020
    MINUTES = 0x0040
    REVERSE_KEY = 0x0080
    LOG_AT_ONCE = 0x0100
    NEVER_LOG = 0x0200
    MILLISECONDS = 0x0400
    LOG_LEVEL = 0x0800
    LOG_AFTER_PART = 0x1000
    UPDATE_NO_RESET = 0x2000
    UNLIMITED = 0x4000
    KEEPALIVE = 0x8000


class InitType(IntFlag):
    """What an INIT result reports of the node that answers."""

    ID_IN_USE = 0x01
    """In an answer: another open connection has this client id. In a push: always."""
    FORWARDS = 0x02
    LEADER = 0x04
    LEADER_KNOWN = 0x08
    SHUTTING_DOWN = 0x10


class DataOperation(IntEnum):
    """Bits 0 to 5 of byte 4 of a data frame."""

    SET = 0
    UNSET = 1
    INCR = 2
    APPEND = 3
    SHIFT = 4
    EXECUTE = 5
    PIPELINE = 6
    PUSH = 7
    POP = 8


class DataStage(IntEnum):
    """Bits 6 and 7 of byte 4 of a data frame: when an EXECUTE runs."""

    NOW = 0
    UNLOCK = 1
    TIMEOUT = 2
    EXPIRY = 3


class DataFlag(IntFlag):
    """Byte 5 of a data frame."""

    NUMBER = 0x01
    ARRAY = 0x02
    MAP = 0x04
    PROPERTIES = 0x10
    FIRST_OR_LAST = 0x20


class PropertyCode(IntEnum):
    """Code of a property in a data frame's property block."""

    KEY = 1
