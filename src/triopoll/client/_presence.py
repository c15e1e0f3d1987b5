"""Who waits on a key, read from the server."""

# JSON from the network is of any type until it is checked:
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from ._credentials import Credential
from ._errors import UnexpectedResponse
from ._http import Site
from ._requests import RepeatingConnection
from ._responses import checked

__all__ = ["Presence", "PresenceReader"]


@dataclass(frozen=True, slots=True)
class Presence:
    """Who waits on a key.

    Attributes:
        count: How many: each subject counts once, and each wait without one.
        subjects: Of the tickets of those who wait, in order.
        anonymous: Waits without a subject.
    """

    count: int
    subjects: tuple[str, ...]
    anonymous: int


class PresenceReader:
    """One connection to read over, for one request at a time."""

    def __init__(self, site: Site, credential: Credential) -> None:
        what = f"reading who waits from {site.authority}"
        self._requests = RepeatingConnection(site, credential, what)

    def __repr__(self) -> str:
        return f"<PresenceReader: {self._requests!r}>"

    async def read(self, key: str) -> Presence:
        """Read who waits on a key; see `PollClient.presence`."""
        path = f"/v1/presence?{urlencode({'key': key})}"
        return await self._requests.request("GET", path, b"", _presence)

    async def aclose(self) -> None:
        """Close the connection."""
        await self._requests.aclose()


def _presence(shape: Mapping[str, Any]) -> Presence:
    try:
        subjects = [checked(each, str) for each in checked(shape.get("subjects"), list)]
        count = checked(shape.get("count"), int)
        anonymous = checked(shape.get("anonymous"), int)
    except TypeError as error:
        raise UnexpectedResponse(f"not a response about presence: {error}") from error
    return Presence(count, tuple(subjects), anonymous)
