"""The façade: `open_client`, and factories for all primitives."""

from __future__ import annotations

from ._client import (
    Client,
    Database,
    Key,
    open_client,
    open_replica_client,
    open_session_client,
)
from ._url import Address, ServerURL, parse_url

__all__ = [
    "Address",
    "Client",
    "Database",
    "Key",
    "ServerURL",
    "open_client",
    "open_replica_client",
    "open_session_client",
    "parse_url",
]
