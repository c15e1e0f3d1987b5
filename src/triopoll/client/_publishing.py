"""Publish messages, and know that they are stored.

Each message has an id, the publisher's or one of ours, by which the server recognises
it for some minutes. So a publish whose answer was lost is simply sent again.
"""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import trio

from ._credentials import Credential
from ._errors import Busy, Interrupted, NotOurs, Refused, Unreachable
from ._http import HttpConnection, Site
from ._pause import Pause
from ._wire import list_from, object_from, read_answer

__all__ = ["Draft", "Published", "Publisher"]

# The server knows an id for 600 s; after that a repetition would be another message.
_TRY_SECONDS = 300.0
_ANSWER_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Draft:
    """A message to publish.

    Attributes:
        key: The log.
        data: Text, or bytes.
        id: A name under which the server stores it only once; None: a random one.
        ttl: Seconds for which it is kept; None: as the server is configured.
    """

    key: str
    data: str | bytes
    id: str | None = None
    ttl: float | None = None


@dataclass(frozen=True, slots=True)
class Published:
    """A message that is stored.

    Attributes:
        id: Its id, which is the cursor behind it.
        duplicate: The server had stored it before, under the same name.
    """

    id: str
    duplicate: bool


class Publisher:
    """One connection to publish over, for one publish at a time."""

    def __init__(self, site: Site, credential: Credential) -> None:
        self._http = HttpConnection(site)
        self._credential = credential
        self._lock = trio.StrictFIFOLock()

    def __repr__(self) -> str:
        return f"<Publisher: {self._http!r}>"

    async def publish(self, drafts: Sequence[Draft]) -> list[Published]:
        """Publish messages; those of one key are stored in the order given.

        Raises:
            Refused: The server does not take them, or not all of them.
            Unreachable: It has been tried for minutes.

        Cancellation:
            Any of them may be stored. Publishing the same drafts again is harmless if
            they have ids.
        """
        body = json.dumps({"items": [_shape(draft) for draft in drafts]}).encode()
        async with self._lock:
            return await self._insist(body, len(drafts))

    async def aclose(self) -> None:
        """Close the connection."""
        await self._http.aclose()

    async def _insist(self, body: bytes, count: int) -> list[Published]:
        pause = Pause()
        give_up = trio.current_time() + _TRY_SECONDS
        renewed = False
        while True:
            try:
                return _results(await self._post(body), count)
            except Interrupted as trouble:
                delay = pause.next(trouble.retry if isinstance(trouble, Busy) else 0.0)
                if trio.current_time() + delay > give_up:
                    raise Unreachable(str(trouble)) from trouble
                await trio.sleep(delay)
            except Refused as refused:
                if renewed or refused.status != 401 or not self._credential.renewable:
                    raise
                renewed = True
                self._credential.forget()

    async def _post(self, body: bytes) -> Mapping[str, Any]:
        headers = {
            **await self._credential.headers(),
            "Content-Type": "application/json",
        }
        response = await self._http.request(
            "POST", "/v1/publish", headers, body, patience=_ANSWER_SECONDS
        )
        return read_answer(response)


def _shape(draft: Draft) -> dict[str, Any]:
    shape: dict[str, Any] = {"key": draft.key, "id": draft.id or uuid.uuid4().hex}
    if isinstance(draft.data, str):
        shape["data"] = draft.data
    else:
        try:
            shape["data"] = draft.data.decode()
        except UnicodeDecodeError:
            shape["data_base64"] = base64.b64encode(draft.data).decode()
    if draft.ttl is not None:
        shape["ttl"] = draft.ttl
    return shape


def _results(shape: Mapping[str, Any], count: int) -> list[Published]:
    try:
        items = [object_from(item) for item in list_from(shape.get("items"))]
    except TypeError as error:
        raise NotOurs(f"no answer to a publish: {error}") from error
    if len(items) != count:
        raise NotOurs(f"an answer for {len(items)} messages instead of {count}")
    return [_result(item) for item in items]


def _result(item: Mapping[str, Any]) -> Published:
    if not isinstance(item.get("id"), str):
        raise Refused(200, str(item.get("code")), str(item.get("message")))
    return Published(item["id"], bool(item.get("duplicate")))
