"""Requests over a connection: their replies, their withdrawal, its loss.

Primitives see `Requester` alone, and its module states what they may rely on.
`ClientSession` implements it over TCP (`connector`) or any other `BaseLink`;
`ReplicaSession` does so for a replica set.
"""

from __future__ import annotations

from ._backoff import Backoff
from ._entries import Owner
from ._link import Link
from ._replset import Changes, OpenTransport, ReplicaSession, ReplicaSet
from ._request_table import BaseLink, CallSoon, RequestTable
from ._requester import (
    BegunRelease,
    BegunWait,
    Expectation,
    LossListener,
    PreparedEnded,
    Requester,
    WaitEnded,
)
from ._session import ClientSession, Connector, connector
from ._settings import SessionSettings, SessionStatistics, reason_of
from ._topology import MemberState, Role, SetState

__all__ = [
    "reason_of",
    "Backoff",
    "BaseLink",
    "BegunRelease",
    "BegunWait",
    "CallSoon",
    "Changes",
    "ClientSession",
    "Connector",
    "Expectation",
    "Link",
    "LossListener",
    "MemberState",
    "OpenTransport",
    "Owner",
    "PreparedEnded",
    "ReplicaSession",
    "ReplicaSet",
    "RequestTable",
    "Requester",
    "Role",
    "SessionSettings",
    "SessionStatistics",
    "SetState",
    "WaitEnded",
    "connector",
]
