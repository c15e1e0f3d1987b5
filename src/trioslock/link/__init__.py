"""Requests over a connection: their replies, their withdrawal, its loss.

Primitives see `Requester` alone (its module tells what they may rely on);
`Session` is the one there is, over TCP (`connector`) or anything else that is a
`Connection`.
"""

from __future__ import annotations

from ._backoff import Backoff
from ._connect import connector
from ._link import Link
from ._replset import Changes, OpenTransport, ReplicaSession, ReplicaSet
from ._request_table import Connection, Exchange, Owner
from ._requester import Expectation, LossListener, Requester
from ._session import Connector, Session, SessionSettings, SessionStatistics
from ._topology import MemberState, Role, SetState

__all__ = [
    "Backoff",
    "Changes",
    "Connection",
    "Connector",
    "Exchange",
    "Expectation",
    "Link",
    "LossListener",
    "MemberState",
    "OpenTransport",
    "Owner",
    "ReplicaSession",
    "ReplicaSet",
    "Requester",
    "Role",
    "Session",
    "SessionSettings",
    "SessionStatistics",
    "SetState",
    "connector",
]
