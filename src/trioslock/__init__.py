"""Trio-native client for the slock server, and an embedded engine."""

from __future__ import annotations

from ._errors import (
    AlreadyHeld,
    ConnectionLost,
    LocalProtocolError,
    LockError,
    LockLost,
    NoLeader,
    NotHeld,
    ProtocolError,
    RemoteProtocolError,
    ServerError,
    SlockError,
)

__all__ = [
    "AlreadyHeld",
    "ConnectionLost",
    "LocalProtocolError",
    "LockError",
    "LockLost",
    "NoLeader",
    "NotHeld",
    "ProtocolError",
    "RemoteProtocolError",
    "ServerError",
    "SlockError",
]
