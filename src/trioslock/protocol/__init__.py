"""The wire and nothing else: sans-IO, both dialects, no clock and no entropy.

Source of every fact here: snower/slock 2.1.12 (``protocol/`` and ``server/``),
checked on the wire against a running server.
"""

from __future__ import annotations

from ._commands import (
    CallCommand,
    CallResult,
    Command,
    InitCommand,
    InitResult,
    LeaderResult,
    LockCommand,
    LockResult,
    PlainCommand,
    PlainResult,
    Result,
    StateCommand,
    StateResult,
    SubscribeCommand,
    SubscribeResult,
)
from ._connection import NEED_DATA, ClientSide, NeedData
from ._constants import (
    FRAME_SIZE,
    ID_SIZE,
    MAX_DATA_SIZE,
    MAX_DATABASE,
    UNLIMITED_COUNT,
    CommandType,
    DataFlag,
    DataOperation,
    DataStage,
    ExpiryFlag,
    InitType,
    LockFlag,
    PropertyCode,
    ResultCode,
    TimeoutFlag,
    UnlockFlag,
)
from ._durations import (
    FOREVER,
    WireDuration,
    decode_duration,
    encode_duration,
    encode_lease,
)
from ._frames import (
    command_trailer_size,
    decode_command,
    decode_lock_result,
    decode_result,
    encode_command,
    encode_lock,
    encode_result,
    result_trailer_size,
)
from ._keys import to_key
from ._payload import Data, Value
from ._protobuf import Field as ProtobufField
from ._protobuf import decode_message, encode_entry, encode_message
from ._server_side import BadHeader, Dialect, Event, ServerSide
from ._text import TextRequest

__all__ = [
    "FOREVER",
    "FRAME_SIZE",
    "ID_SIZE",
    "MAX_DATABASE",
    "MAX_DATA_SIZE",
    "NEED_DATA",
    "BadHeader",
    "UNLIMITED_COUNT",
    "CallCommand",
    "CallResult",
    "ClientSide",
    "Command",
    "CommandType",
    "Data",
    "DataFlag",
    "DataOperation",
    "DataStage",
    "Dialect",
    "Event",
    "ExpiryFlag",
    "InitCommand",
    "InitResult",
    "InitType",
    "LeaderResult",
    "LockCommand",
    "LockFlag",
    "LockResult",
    "NeedData",
    "PlainCommand",
    "PlainResult",
    "PropertyCode",
    "ProtobufField",
    "Result",
    "ResultCode",
    "ServerSide",
    "StateCommand",
    "StateResult",
    "SubscribeCommand",
    "SubscribeResult",
    "TextRequest",
    "TimeoutFlag",
    "UnlockFlag",
    "Value",
    "WireDuration",
    "command_trailer_size",
    "decode_command",
    "decode_duration",
    "decode_lock_result",
    "decode_message",
    "decode_result",
    "encode_command",
    "encode_duration",
    "encode_lease",
    "encode_entry",
    "encode_lock",
    "encode_message",
    "encode_result",
    "result_trailer_size",
    "to_key",
]
