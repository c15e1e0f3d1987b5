"""Services: what is opened together, and what is said about it."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from triopoll.ops.drain import Drain
from triopoll.ops.metrics import Metrics
from triopoll.services import open_services
from triopoll.settings import Settings, SettingsError

SECRET = "a-secret-of-services-0123456789-abcdefgh"


async def open_with(**settings: Any) -> None:
    chosen = Settings(slock_url="embedded://127.0.0.1:0", **settings)
    async with open_services(chosen, Drain(), Metrics()) as services:
        assert services.access.rules.tickets is None or settings


async def test_the_log_says_what_is_open(caplog: pytest.LogCaptureFixture) -> None:
    """Who forgot to configure keys or tickets reads it at the start."""
    with caplog.at_level(logging.WARNING, "triopoll"):
        await open_with()
    assert "publishing is served to programs on this machine only" in caplog.text
    assert "subscribing is open to everybody" in caplog.text


async def test_the_log_is_silent_when_all_is_closed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A warning that is always there is read by nobody."""
    key = f"shop:{'0' * 64}:*"
    with caplog.at_level(logging.WARNING, "triopoll"):
        await open_with(ticket_secrets=SECRET, publish_keys=key)
    assert caplog.text == ""


async def test_access_that_cannot_be_configured() -> None:
    """Nothing is opened then."""
    with pytest.raises(SettingsError, match="TRIOPOLL_TICKET_SECRETS"):
        await open_with(ticket_secrets="short")
