"""How long a wait of `/v1` may take, how long it took, and why it is over."""

from __future__ import annotations

import random
from typing import Any

import trio

from ...services import Services
from .responses import SPREAD_MS, shortened

__all__ = ["Timing"]


class Timing:
    """How long a wait may take, and how long it took.

    Attributes:
        seconds: What it may take.
    """

    __slots__ = ("_services", "_since", "seconds")

    def __init__(self, services: Services, seconds: float | None) -> None:
        """Begin.

        Args:
            services: Their settings have the default, and their drain may end it.
            seconds: What was asked for.
        """
        if seconds is None:
            seconds = services.settings.v1_default_timeout
        self.seconds = shortened(seconds)
        self._services = services
        self._since = trio.current_time()

    def fields(self, is_ready: bool) -> dict[str, Any]:
        """Return the fields of a response: how long was waited, and why."""
        draining = self._services.drain.released
        fields: dict[str, Any] = {
            # The clients of a server that is being replaced reconnect at different
            # times.
            "retry_ms": random.randint(0, SPREAD_MS) if draining else 0,
            "wait": round(self.seconds, 3),
            "waited": round(trio.current_time() - self._since, 3),
        }
        if not is_ready:
            fields["code"] = "draining" if draining else "timeout"
        return fields
