"""The limits of the server, and that the manual says the same."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from triopoll.server import ServerSettings

DEPLOY = (Path(__file__).parents[3] / "docs/how-to/deploy.md").read_text()


def test_settings_do_not_change_while_a_server_runs() -> None:
    """Each connection may read them at any time."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        ServerSettings().linger = 2  # type: ignore[misc]


@pytest.mark.parametrize(
    ("row", "name", "written"),
    [
        ("request line", "max_head_bytes", "16 KiB"),
        ("headers together, or more than 100", "max_headers", "16 KiB"),
        ("first byte to the end of its headers", "head_deadline", "10 s"),
        ("time for its body", "body_deadline", "30 s"),
        ("bytes pipelined", "max_ahead_bytes", "64 KiB"),
        ("--write-deadline", "write_deadline", "10 s"),
        ("--keep-alive", "keep_alive", "75 s"),
        ("--max-connections", "max_connections", "20,000"),
        ("--max-unread-bytes", "max_unread_bytes", "65,536 KiB"),
        ("a websocket message", "websocket_max_message_bytes", "64 KiB"),
        ("--websocket-ping", "websocket_ping", "20 s"),
        ("--websocket-ping", "websocket_pong_deadline", "10 s"),
    ],
)
def test_the_manual_has_each_limit(row: str, name: str, written: str) -> None:
    """The table of limits for clients names the default of each."""
    (line,) = re.findall(rf"^\|.*{re.escape(row)}.*\|$", DEPLOY, re.MULTILINE)
    assert written in line
    number = float(written.split(maxsplit=1)[0].replace(",", ""))
    unit = 1024 if written.endswith("KiB") else 1
    default = getattr(ServerSettings(), name)
    assert default == (100 if name == "max_headers" else number * unit)


def test_a_proxy_closes_idle_connections_first() -> None:
    """nginx does after 60 s; a connection that both close may lose a request."""
    assert ServerSettings().keep_alive > 60
