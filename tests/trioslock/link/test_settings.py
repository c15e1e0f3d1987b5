"""Settings of a session are checked when they are made."""

from __future__ import annotations

import socket
from dataclasses import replace
from typing import Any

import pytest
import trio

from trioslock import ConnectionLost
from trioslock.link import Backoff, SessionSettings
from trioslock.link._settings import reason_of

VALID = SessionSettings(client_id=b"c" * 16)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"session_ttl": 0.5}, "session_ttl must be 1 to 60000 seconds, not 0.5"),
        ({"session_ttl": 60_001}, "session_ttl must be 1 to 60000 seconds"),
        ({"session_ttl": float("nan")}, "session_ttl"),
        ({"connect_timeout": 0}, "connect_timeout must be above 0 seconds"),
        ({"connect_timeout": float("nan")}, "connect_timeout must be above 0 seconds"),
        ({"close_grace": -1}, "close_grace must be at least 0 seconds"),
        ({"max_inflight": 0}, "max_inflight must be at least 1, not 0"),
        ({"client_id": b"short"}, "a client id must be 16 bytes, not b'short'"),
    ],
)
def test_a_value_out_of_range_is_refused(change: dict[str, Any], message: str) -> None:
    """With the name of the setting, its range and what was given."""
    with pytest.raises(ValueError, match=message):
        replace(VALID, **change)


@pytest.mark.parametrize(
    "change",
    [
        {"session_ttl": 1},
        {"session_ttl": 60_000},
        {"connect_timeout": float("inf")},
        {"close_grace": 0},
        {"max_inflight": 1},
        {"backoff": None},
        {"backoff": Backoff(first=1)},
    ],
)
def test_values_at_the_ends_of_their_range_are_accepted(change: dict[str, Any]) -> None:
    """And kept as they are."""
    settings = replace(VALID, **change)
    assert all(getattr(settings, name) == value for name, value in change.items())


def _raised_from(error: Exception, cause: BaseException) -> Exception:
    error.__cause__ = cause
    return error


REFUSED = ConnectionRefusedError(111, "Connection refused")
ALL_FAILED = "all attempts to connect to h:1 failed"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (REFUSED, "Connection refused"),
        (_raised_from(OSError(ALL_FAILED), REFUSED), "Connection refused"),
        (
            _raised_from(OSError(ALL_FAILED), ExceptionGroup("", [REFUSED, OSError()])),
            "Connection refused",
        ),
        (OSError(111, "Error connecting to ('h', 1): refused"), "Connection refused"),
        (OSError(ALL_FAILED), ALL_FAILED),
        (socket.gaierror(-2, "Name or service not known"), "Name or service not known"),
        (trio.TooSlowError(), "no answer in time"),
        (
            ConnectionLost("the connection ended: closed"),
            "the connection ended: closed",
        ),
        (trio.BrokenResourceError(), "BrokenResourceError"),
    ],
)
def test_the_reason_for_a_lack_of_connection(error: Exception, reason: str) -> None:
    """In the words of the cause."""
    assert reason_of(error) == reason
