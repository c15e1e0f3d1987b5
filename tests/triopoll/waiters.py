"""A waiter for waits without a task that notes how it is called."""

from __future__ import annotations

from typing import Any

__all__ = ["Calls"]


class Calls:
    """A `Waiter`.

    Attributes:
        results: What it was settled with.
        call_backs: How often it was called back.
    """

    def __init__(self) -> None:
        self.results: list[Any] = []
        self.call_backs = 0

    def settle(self, result: Any) -> None:
        self.results.append(result)

    def call_back(self) -> None:
        self.call_backs += 1
