"""Publish messages, and repeat a publish until it is known to be stored.

Each message has an id, the publisher's or a random one, by which the server recognises
it for some minutes. So a publish whose response was lost is sent again without harm.
"""

# JSON from the network is of any type until it is checked:
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

import base64
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

from ._credentials import Credential
from ._errors import Refused, UnexpectedResponse
from ._http import Site
from ._requests import RepeatingConnection
from ._responses import checked, json_text

__all__ = ["Draft", "Json", "Published", "Publisher", "plain_value"]

Json: TypeAlias = "str | float | bool | Sequence[Json] | Mapping[str, Json] | None"


@dataclass(frozen=True, slots=True)
class Draft:
    """A message to publish.

    Attributes:
        key: The log.
        data: Text; bytes; or any other value that the `json` module can write.
        id: A name under which the server stores it only once; None: a random one.
        ttl: Seconds for which it is kept; None: as the server is configured.
    """

    key: str
    data: Json | bytes
    id: str | None = None
    ttl: float | None = None


@dataclass(frozen=True, slots=True)
class Published:
    """A message that is stored.

    Attributes:
        id: Its id, which is the cursor after it.
        duplicate: The server had stored it before, under the same name.
    """

    id: str
    duplicate: bool


class Publisher:
    """One connection to publish over, for one publish at a time."""

    def __init__(self, site: Site, credential: Credential) -> None:
        self._requests = RepeatingConnection(site, credential)

    def __repr__(self) -> str:
        return f"<Publisher: {self._requests!r}>"

    async def publish(self, drafts: Sequence[Draft]) -> list[Published]:
        """Publish messages; see `PollClient.publish_many`."""
        shape = {"items": [_shape(draft) for draft in drafts]}
        body = json_text(shape, default=plain_value).encode()
        parse = partial(_results, count=len(drafts))
        return await self._requests.request("POST", "/v1/publish", body, parse)

    async def aclose(self) -> None:
        """Close the connection."""
        await self._requests.aclose()


def _shape(draft: Draft) -> dict[str, Any]:
    shape: dict[str, Any] = {"key": draft.key, "id": draft.id or uuid.uuid4().hex}
    if not isinstance(draft.data, bytes):
        shape["data"] = draft.data
    else:
        try:
            shape["data"] = draft.data.decode()
        except UnicodeDecodeError:
            shape["data_base64"] = base64.b64encode(draft.data).decode()
    if draft.ttl is not None:
        shape["ttl"] = draft.ttl
    return shape


def plain_value(value: Any) -> Any:
    """Return a mapping or a sequence as the type that the `json` module writes."""
    if isinstance(value, Mapping):
        members: dict[Any, Any] = {**value}
        return members
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [*value]
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def _results(shape: Mapping[str, Any], count: int) -> list[Published]:
    try:
        items = [checked(item, dict) for item in checked(shape.get("items"), list)]
    except TypeError as error:
        raise UnexpectedResponse(f"not a response to a publish: {error}") from error
    if len(items) != count:
        raise UnexpectedResponse(f"{len(items)} results for {count} messages")
    return [_result(item) for item in items]


def _result(item: Mapping[str, Any]) -> Published:
    if not isinstance(item.get("id"), str):
        raise Refused(200, str(item.get("code")), str(item.get("message")))
    return Published(item["id"], bool(item.get("duplicate")))
