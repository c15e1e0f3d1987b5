"""``/v1/messages``, ``/v1/wait`` and ``/v1/publish``: decode, check access, respond."""

from __future__ import annotations

import random
from functools import partial
from typing import Any

import trio
from msgspec import UNSET

from ...asgi.messages import UNCACHED_JSON, Request, Response, Routes
from ...asgi.query import BadQuery
from ...core.outcomes import Failure
from ...core.publisher import Published, Signalled, Stored, Unpublished
from ...core.wait_items import ReadResult
from ...services import Services
from ...settings import Settings
from ...store import BadCursor
from ..refusals import format_v1
from ..validation import BadRequest
from .decoding import (
    MessagesRequest,
    WaitRequest,
    read_messages_query,
    read_publish,
    read_wait,
    read_wait_query,
)
from .serializers import (
    ErrorResponse,
    FailedResult,
    MessagesResponse,
    PublishResponse,
    PublishResult,
    ResponseStruct,
    SignalResult,
    StoredResult,
    WaitResponse,
    encode,
    encode_messages,
    item_result,
    lost_of,
)

__all__ = ["v1_routes"]

# The largest part of a wait that is subtracted at random, so that many clients that
# were answered at the same time do not all poll at the same time from then on.
_JITTER = 0.1
# Milliseconds over which the clients of a server that is being replaced reconnect.
_SPREAD_MS = 2000
# The same for a server whose backend is away, in the seconds of Retry-After.
_RETRY_AFTER = (1, 4)

_MESSAGES = {
    Failure.SLOCK_UNREACHABLE: "slock cannot be reached",
    Failure.SLOCK_REFUSED: "slock refused the request",
    Failure.STORE_UNREACHABLE: "the message store cannot be reached",
    Failure.STORE_FAILED: "the message store answered with an error",
    Failure.TOO_MANY_WAITS: "the limit of parked waits has been reached",
    Failure.TOO_MANY_HELD_KEYS: "the limit of keys held by waits has been reached",
}


def v1_routes(services: Services) -> Routes:
    """Return the endpoints of `/v1`.

    Args:
        services: What the endpoints use.
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
        return await _messages_response(services, request, query)
    except (BadRequest, BadCursor, BadQuery) as error:
        return _refuse(error)


async def _messages_response(
    services: Services, request: Request, query: MessagesRequest
) -> Response:
    item = query.item
    permit = services.access.admit_subscriber(request, (item.key,), format_v1)
    if isinstance(permit, Response):
        return permit
    seconds = _wait_seconds(query.timeout, services.settings)
    since = trio.current_time()
    with permit:
        found = await services.reader.messages(
            item.key, item.cursor, item.limit, seconds, permit.visitor.bucket
        )
    if permit.ended is not None:
        return permit.ended
    if isinstance(found, Failure):
        return _failure_response(found)
    timing = _timing(services, found.ready, seconds, since)
    if found.page.gap:
        timing["code"] = "gap"
    response = MessagesResponse(
        messages=encode_messages(found),
        cursor=found.page.cursor,
        lost=lost_of(found.page),
        **timing,
    )
    return Response(encode(response), headers=UNCACHED_JSON, woken=found.woken)


async def _wait(services: Services, request: Request) -> Response:
    try:
        if request.method == "GET":
            query = read_wait_query(request.parameters, services.settings)
        else:
            query = read_wait(request.body, services.settings)
        return await _wait_response(services, request, query)
    except (BadRequest, BadCursor, BadQuery) as error:
        return _refuse(error)


async def _wait_response(
    services: Services, request: Request, query: WaitRequest
) -> Response:
    items = query.items
    keys = [item.key for item in items]
    permit = services.access.admit_subscriber(request, keys, format_v1)
    if isinstance(permit, Response):
        return permit
    seconds = _wait_seconds(query.timeout, services.settings)
    since = trio.current_time()
    with permit:
        found = await services.reader.wait_any(items, seconds, permit.visitor.bucket)
    if permit.ended is not None:
        return permit.ended
    if isinstance(found, Failure):
        return _failure_response(found)
    is_ready = any(state.ready for state in found)
    response = WaitResponse(
        items=list(map(item_result, items, found)),
        **_timing(services, is_ready, seconds, since),
    )
    woken = [
        state.woken for state in found if isinstance(state, ReadResult) and state.woken
    ]
    return Response(
        encode(response), headers=UNCACHED_JSON, woken=max(woken, default=None)
    )


def _wait_seconds(asked: float | None, settings: Settings) -> float:
    seconds = settings.v1_default_timeout if asked is None else asked
    return seconds * (1 - random.uniform(0, _JITTER))


def _timing(
    services: Services, is_ready: bool, seconds: float, since: float
) -> dict[str, Any]:
    """Return the fields of a response that say how long was waited, and why."""
    timing: dict[str, Any] = {}
    retry = 0
    if not is_ready:
        timing["code"] = "draining" if services.drain.released else "timeout"
    if services.drain.released:
        # The clients of a server that is being replaced reconnect at different times.
        retry = random.randint(0, _SPREAD_MS)
    timing["retry_ms"] = retry
    timing["wait"] = round(seconds, 3)
    timing["waited"] = round(trio.current_time() - since, 3)
    return timing


# --- publishing -----------------------------------------------------------------------


async def _publish(services: Services, request: Request) -> Response:
    try:
        drafts = read_publish(request.body, services.settings)
    except BadRequest as error:
        return _refuse(error)
    keys = [draft.key for draft in drafts]
    publisher = services.access.admit_publisher(request, keys, format_v1)
    if isinstance(publisher, Response):
        return publisher
    return _publish_response(await services.publisher.publish(drafts))


def _publish_response(results: list[Published]) -> Response:
    failures = [each.failure for each in results if isinstance(each, Unpublished)]
    if len(failures) == len(results):
        if set(failures) == {Failure.SLOCK_REFUSED}:
            # The key is used by something else: trying again would not help.
            return _respond(_error(Failure.SLOCK_REFUSED), 409)
        return _failure_response(failures[0])
    is_done = not failures and all(
        each.woken for each in results if isinstance(each, Stored)
    )
    body = PublishResponse(items=list(map(_publish_result, results)))
    return _respond(body, 200 if is_done else 202)


def _publish_result(result: Published) -> PublishResult:
    match result:
        case Unpublished(failure):
            return FailedResult(code=failure.value, message=_MESSAGES[failure])
        case Stored():
            return StoredResult(
                id=result.id,
                duplicate=result.duplicate,
                woken=result.woken,
                waiting=result.waiting,
            )
        case Signalled(version):
            return SignalResult(version=UNSET if version is None else version)


# --- errors ---------------------------------------------------------------------------


def _refuse(error: BadRequest | BadCursor | BadQuery) -> Response:
    code = "bad_cursor" if isinstance(error, BadCursor) else "bad_request"
    return _respond(ErrorResponse(code=code, message=str(error)), 400)


def _failure_response(failure: Failure) -> Response:
    seconds = random.randint(*_RETRY_AFTER)
    body = _error(failure)
    body.retry_ms = 1000 * seconds
    return _respond(body, 503, (b"retry-after", b"%d" % seconds))


def _error(failure: Failure) -> ErrorResponse:
    return ErrorResponse(code=failure.value, message=_MESSAGES[failure])


def _respond(
    body: ResponseStruct, status: int, *headers: tuple[bytes, bytes]
) -> Response:
    return Response(encode(body), status, (*UNCACHED_JSON, *headers))
