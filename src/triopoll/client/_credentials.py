"""The bearer tokens that the client sends: a ticket to read, a key to publish."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

__all__ = ["Credential", "Secret"]

Secret: TypeAlias = "str | Callable[[], Awaitable[str]] | None"


class Credential:
    """A bearer token that may have to be fetched, and fetched again."""

    def __init__(self, secret: Secret) -> None:
        """Hold a token, or the function that fetches one; None sends none."""
        self._fetch = secret if callable(secret) else None
        self._token = None if callable(secret) else secret

    @property
    def renewable(self) -> bool:
        """Return whether another token can be fetched."""
        return self._fetch is not None

    async def headers(self) -> dict[str, str]:
        """Return the headers that carry the token, which is fetched if need be."""
        if self._token is None and self._fetch is not None:
            self._token = await self._fetch()
        return {} if self._token is None else {"Authorization": f"Bearer {self._token}"}

    def forget(self) -> None:
        """Let the next call fetch another token, if there is a function for it."""
        if self._fetch is not None:
            self._token = None
