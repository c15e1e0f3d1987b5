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
from datetime import datetime
from functools import partial
from typing import Any, TypeAlias
from urllib.parse import quote

from ._credentials import Credential
from ._errors import Refused, ServerBusy, UnexpectedResponse
from ._http import Site
from ._requests import RepeatingConnection
from ._responses import checked, json_text, shorten

__all__ = ["Draft", "Json", "Published", "Publisher", "plain_value"]

# Codes of a message that could not be stored now; those of a 503 for a whole request.
_BUSY_CODES = frozenset(
    {
        "slock_unreachable",
        "store_failed",
        "store_unreachable",
        "too_many_pending",
        "too_many_waits",
    }
)

Json: TypeAlias = "str | float | bool | Sequence[Json] | Mapping[str, Json] | None"


@dataclass(frozen=True, slots=True)
class Draft:
    """A message to publish.

    Attributes:
        key: The log.
        data: Text; bytes; or any other value that the `json` module can write.
        id: A name under which the server stores it only once; None: a random one.
        ttl: Seconds for which it is kept; None: as the server is configured.
        not_before: When readers get it: seconds after the server has received it, or a
            time with a zone; None: at once.
    """

    key: str
    data: Json | bytes
    id: str | None = None
    ttl: float | None = None
    not_before: float | datetime | None = None


@dataclass(frozen=True, slots=True)
class Published:
    """A message that is stored.

    Attributes:
        id: Its id, which is the cursor after it; of a pending message what
            `PollClient.cancel` takes, and no cursor.
        duplicate: The server had stored it before, under the same name.
        due: Of a pending message when readers get it, in Unix seconds by the server's
            clock; None of one that they have already.
        replaced: It has replaced a pending message of the same name.
    """

    id: str
    duplicate: bool
    due: float | None = None
    replaced: bool = False

    @property
    def pending(self) -> bool:
        """Return whether readers get it later."""
        return self.due is not None


class Publisher:
    """One connection to publish over, for one publish at a time."""

    def __init__(self, site: Site, credential: Credential) -> None:
        what = f"publishing to {site.authority}"
        self._requests = RepeatingConnection(site, credential, what)

    def __repr__(self) -> str:
        return f"<Publisher: {self._requests!r}>"

    async def publish(self, drafts: Sequence[Draft]) -> list[Published]:
        """Publish messages; see `PollClient.publish_many`."""
        shape = {"items": [_shape(draft) for draft in drafts]}
        body = json_text(shape, default=plain_value).encode()
        parse = partial(_results, count=len(drafts))
        return await self._requests.request("POST", "/v1/publish", body, parse)

    async def cancel(self, id_: str) -> bool:
        """Cancel a pending message; see `PollClient.cancel`."""
        path = f"/v1/publish/{quote(id_, safe='')}"
        try:
            await self._requests.request("DELETE", path, b"", lambda shape: None)
        except Refused as refused:
            if refused.status == 404 and refused.code == "unknown":
                return False
            raise
        return True

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
    if isinstance(draft.not_before, datetime):
        if draft.not_before.tzinfo is None:
            raise ValueError("not_before is a time without a zone")
        shape["not_before"] = draft.not_before.isoformat()
    elif draft.not_before is not None:
        shape["not_before"] = draft.not_before
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
        code, message = (
            shorten(str(item.get("code"))),
            shorten(str(item.get("message"))),
        )
        if code in _BUSY_CODES:
            raise ServerBusy(f"{message} ({code})", 0.0)
        raise Refused(200, code, message)
    if not item.get("pending"):
        return Published(item["id"], bool(item.get("duplicate")))
    if not isinstance(due := item.get("due"), int | float):
        raise UnexpectedResponse("a pending message without a time")
    return Published(item["id"], False, float(due), bool(item.get("replaced")))
