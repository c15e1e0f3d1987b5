"""``/v1/messages``, ``/v1/wait`` and ``/v1/publish``: read, ask the gate, do, say."""

from __future__ import annotations

import random
from functools import partial
from typing import Any

import trio

from ...asgi.json import to_json
from ...asgi.messages import (
    UNCACHED,
    UNCACHED_JSON,
    Request,
    Response,
    Routes,
    json_response,
)
from ...asgi.query import BadQuery
from ...core.outcomes import Failure
from ...core.publisher import (
    ClearEvent,
    Draft,
    Published,
    SetEvent,
    Stored,
    Unpublished,
    WakeGroup,
)
from ...core.wait_items import (
    EventItem,
    GroupItem,
    GroupState,
    Item,
    ItemState,
    LogItem,
    ReadResult,
)
from ...services import Services
from ...settings import Settings
from ...store import BadCursor, NewMessage
from ..refusals import format_v1
from .schemas import (
    BadRequest,
    MessagesQuery,
    PublishItem,
    WaitItem,
    WaitQuery,
    read_messages_query,
    read_publish,
    read_wait,
    read_wait_query,
)
from .serializers import encode_read_result

__all__ = ["draft_of", "item_of", "v1_routes"]

# The part of a wait that is subtracted at random, at most, so that a crowd that was
# answered together does not stay one.
_JITTER = 0.1
# Milliseconds over which clients come back: to a server that is being replaced, and to
# one whose backend is away (seconds there, as Retry-After has them).
_SPREAD_MS = 2000
_RETRY_AFTER = (1, 4)
# Seconds that an event stays set or clear if its publisher does not say.
_EVENT_TTL = 120.0

_MESSAGES = {
    Failure.SLOCK_UNREACHABLE: "slock cannot be reached",
    Failure.SLOCK_REFUSED: "slock refused the request",
    Failure.STORE_UNREACHABLE: "the store cannot be reached",
    Failure.STORE_FAILED: "the store answered with an error",
    Failure.TOO_MANY_WAITS: "as many waits are parked here as may be",
}


def v1_routes(services: Services) -> Routes:
    """Return the endpoints of `/v1`.

    Args:
        services: What they work with.
    """
    wait = partial(_wait, services)
    return {
        "/v1/messages": {"GET": partial(_messages, services)},
        "/v1/wait": {"GET": wait, "POST": wait},
        "/v1/publish": {"POST": partial(_publish, services)},
    }


# --- reading --------------------------------------------------------------------------


async def _messages(services: Services, request: Request) -> Response:
    try:
        query = read_messages_query(request.parameters, services.settings)
        return await _messages_answer(services, request, query)
    except (BadRequest, BadCursor, BadQuery) as error:
        return _refuse(error)


async def _messages_answer(
    services: Services, request: Request, query: MessagesQuery
) -> Response:
    permit = services.access.admit_subscriber(request, (query.key,), format_v1)
    if isinstance(permit, Response):
        return permit
    seconds = _seconds(query.timeout, services.settings)
    since = trio.current_time()
    with permit:
        found = await services.reader.messages(
            query.key, query.cursor, query.max, seconds
        )
    if permit.ended is not None:
        return permit.ended
    if isinstance(found, Failure):
        return _fail(found)
    told = _about_wait(services, found.ready, seconds, since)
    # What is the same for everybody has been encoded once.
    body = b"{%b,%b" % (encode_read_result(found), _json(told)[1:])
    return Response(body, headers=UNCACHED_JSON, woken=found.woken)


async def _wait(services: Services, request: Request) -> Response:
    try:
        if request.method == "GET":
            query = read_wait_query(request.parameters, services.settings)
        else:
            query = read_wait(request.body, services.settings)
        return await _wait_answer(services, request, query)
    except (BadRequest, BadCursor, BadQuery) as error:
        return _refuse(error)


async def _wait_answer(
    services: Services, request: Request, query: WaitQuery
) -> Response:
    keys = [item.key for item in query.items]
    permit = services.access.admit_subscriber(request, keys, format_v1)
    if isinstance(permit, Response):
        return permit
    seconds = _seconds(query.timeout, services.settings)
    since = trio.current_time()
    items = [item_of(item, query.max) for item in query.items]
    with permit:
        found = await services.reader.wait_any(items, seconds)
    if permit.ended is not None:
        return permit.ended
    if isinstance(found, Failure):
        return _fail(found)
    is_ready = any(seen.ready for seen in found)
    told = _about_wait(services, is_ready, seconds, since)
    parts = map(_encode_seen, query.items, found)
    body = b'{"items":[%b],%b' % (b",".join(parts), _json(told)[1:])
    woken = [
        seen.woken for seen in found if isinstance(seen, ReadResult) and seen.woken
    ]
    return Response(body, headers=UNCACHED_JSON, woken=max(woken, default=None))


def item_of(item: WaitItem, limit: int) -> Item:
    """Return what a reader is asked for, with so many messages at most."""
    if item.type == "event":
        return EventItem(item.key, item.default_type or "clear")
    if item.type == "group":
        return GroupItem(item.key, item.version)
    return LogItem(item.key, item.cursor or "new", limit)


def _encode_seen(item: WaitItem, seen: ItemState) -> bytes:
    shape: dict[str, Any] = {"type": item.type, "key": item.key, "ready": seen.ready}
    if isinstance(seen, ReadResult):
        return b"%b,%b}" % (_json(shape)[:-1], encode_read_result(seen))
    if isinstance(seen, GroupState):
        shape["version"] = seen.version
    return _json(shape)


def _seconds(asked: float | None, settings: Settings) -> float:
    seconds = settings.v1_default_timeout if asked is None else asked
    return seconds * (1 - random.uniform(0, _JITTER))


def _about_wait(
    services: Services, is_ready: bool, seconds: float, since: float
) -> dict[str, Any]:
    told: dict[str, Any] = {}
    retry = 0
    if not is_ready:
        told["code"] = "draining" if services.drain.released else "timeout"
    if services.drain.released:
        # Elsewhere, and not all at once.
        retry = random.randint(0, _SPREAD_MS)
    told["retry_ms"] = retry
    told["wait"] = round(seconds, 3)
    told["waited"] = round(trio.current_time() - since, 3)
    return told


# --- publishing -----------------------------------------------------------------------


async def _publish(services: Services, request: Request) -> Response:
    try:
        items = read_publish(request.body, services.settings)
    except BadRequest as error:
        return _refuse(error)
    keys = [item.key for item in items]
    publisher = services.access.admit_publisher(request, keys, format_v1)
    if isinstance(publisher, Response):
        return publisher
    results = await services.publisher.publish(list(map(draft_of, items)))
    return _published_answer(results)


def draft_of(item: PublishItem) -> Draft:
    """Return what a publisher is asked for."""
    if item.type == "message":
        data = item.data if item.data_base64 is None else item.data_base64
        return NewMessage(item.key, data or b"", item.id, item.ttl)
    if item.type == "group":
        return WakeGroup(item.key)
    kind = SetEvent if item.type == "event" else ClearEvent
    return kind(item.key, item.default_type or "clear", item.ttl or _EVENT_TTL)


def _published_answer(results: list[Published]) -> Response:
    failures = [each.failure for each in results if isinstance(each, Unpublished)]
    if len(failures) == len(results):
        if set(failures) == {Failure.SLOCK_REFUSED}:
            # The key is something else; trying again would not help.
            return json_response(_told(Failure.SLOCK_REFUSED), 409, UNCACHED)
        return _fail(failures[0])
    is_done = not failures and all(
        each.woken for each in results if isinstance(each, Stored)
    )
    shape = {"items": list(map(_published, results))}
    return json_response(shape, 200 if is_done else 202, UNCACHED)


def _published(result: Published) -> dict[str, Any]:
    if isinstance(result, Unpublished):
        return _told(result.failure)
    if isinstance(result, Stored):
        return {
            "id": result.id,
            "duplicate": result.duplicate,
            "woken": result.woken,
            "waiting": result.waiting,
        }
    return {} if result.version is None else {"version": result.version}


# --- what goes wrong ------------------------------------------------------------------


def _refuse(error: BadRequest | BadCursor | BadQuery) -> Response:
    code = "bad_cursor" if isinstance(error, BadCursor) else "bad_request"
    return json_response({"code": code, "message": str(error)}, 400, UNCACHED)


def _fail(failure: Failure) -> Response:
    seconds = random.randint(*_RETRY_AFTER)
    shape = {**_told(failure), "retry_ms": 1000 * seconds}
    headers = (*UNCACHED, (b"retry-after", b"%d" % seconds))
    return json_response(shape, 503, headers)


def _told(failure: Failure) -> dict[str, Any]:
    return {"code": failure.value, "message": _MESSAGES[failure]}


def _json(shape: object) -> bytes:
    return to_json(shape).encode()
