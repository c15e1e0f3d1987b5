"""The client: `open_client`, and factories for all primitives."""

from __future__ import annotations

from ._client import (
    Client,
    open_client,
    open_replica_client,
    open_session_client,
)
from ._database import Database, Key
from ._service import Service
from ._url import Address, ServerURL, parse_url

__all__ = [
    "Address",
    "Client",
    "Database",
    "Key",
    "ServerURL",
    "Service",
    "open_client",
    "open_replica_client",
    "open_session_client",
    "parse_url",
]
