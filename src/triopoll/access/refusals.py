"""Why a request is refused. Each API writes a refusal in its own format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from ..asgi.messages import Response

__all__ = ["AccessRefused", "Refusal", "RefusalFormat"]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not served.

    Attributes:
        status: The HTTP status that fits.
        code: One word for programs.
        message: One sentence for people.
        limit: The name of the limit that has been reached.
        retry_after: Whole seconds after which to try again.
    """

    status: int
    code: str
    message: str
    limit: str | None = None
    retry_after: int | None = None


class AccessRefused(Exception):
    """The request is not served; `refusal` says why. Never leaves this package."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


RefusalFormat: TypeAlias = Callable[[Refusal], Response]
