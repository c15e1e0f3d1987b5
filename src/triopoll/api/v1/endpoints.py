"""``/v1/messages``, ``/v1/wait`` and ``/v1/publish``: decode, check access, respond."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import partial
from typing import Any, cast

import trio
from msgspec import UNSET, convert

from ...asgi.messages import Request, Response, Routes, StreamingResponse
from ...asgi.query import BadQuery
from ...core.outcomes import Failure
from ...core.publisher import Published, Signalled, Stored, Unpublished
from ...core.wait_items import Item, ItemState, LogItem, ReadResult
from ...services import Services
from ...settings import Settings
from ...store import BadCursor
from ..refusals import format_v1
from ..validation import BadRequest
from .decoding import (
    WaitRequest,
    read_messages_query,
    read_publish,
    read_wait,
    read_wait_query,
)
from .live_messages import stream_messages
from .responses import (
    FAILURES,
    JITTER,
    SPREAD_MS,
    error_response,
    failure_response,
    refusal_response,
    respond,
)
from .serializers import (
    FailedResult,
    PublishResponse,
    PublishResult,
    SignalResult,
    StoredResult,
    WaitResponse,
    item_result,
    messages_response,
)

__all__ = ["v1_routes"]

_MESSAGES = "/v1/messages"
# Bytes of messages from which on a response is encoded while no other one is: a page of
# 1 MiB takes some milliseconds, and its bytes twice.
_LARGE = 2**16


def v1_routes(services: Services) -> Routes:
    """Return the endpoints of `/v1`.

    Args:
        services: What the endpoints use.
    """
    # Hundreds of clients may request a large page at once. One after the other, each
    # response is with its connection before the next one is encoded: others are served
    # in between, and the limit of unread bytes holds.
    wait = partial(_wait, services, trio.Lock())
    return {
        _MESSAGES: {"GET": wait},
        "/v1/wait": {"GET": wait, "POST": wait},
        "/v1/publish": {"POST": partial(_publish, services)},
    }


# --- reading --------------------------------------------------------------------------


async def _wait(
    services: Services, turns: trio.Lock, request: Request
) -> Response | StreamingResponse:
    """Serve ``/v1/messages`` and ``/v1/wait``, which differ in how they are written."""
    # One coroutine down to the reader's: each resumption of a task passes through all
    # of them, and each is kept as long as the request waits.
    is_messages = request.path == _MESSAGES
    try:
        query = _read_query(services.settings, request)
        items, seconds = query.items, query.timeout
        keys = [item.key for item in items]
        permit = services.access.admit_subscriber(request, keys, format_v1)
        if isinstance(permit, Response):
            return permit
        if query.is_live:
            return stream_messages(services, turns, request, query, permit)
        if seconds is None:
            seconds = services.settings.v1_default_timeout
        seconds *= 1 - random.uniform(0, JITTER)
        since = trio.current_time()
        early = None
        found: ReadResult | list[ItemState] | Failure
        with permit:
            if is_messages:
                log = cast("LogItem", items[0])
                if request.respond_now is not None:
                    early = _EarlyResponse(services, request, seconds, since)
                found = await services.reader.messages(
                    log.key,
                    log.cursor,
                    log.limit,
                    seconds,
                    permit.visitor.bucket,
                    answer=early,
                )
            else:
                found = await services.reader.wait_any(
                    items, seconds, permit.visitor.bucket
                )
    except (BadRequest, BadCursor, BadQuery) as error:
        return refusal_response(error)
    if early is not None and early.response is not None:
        return early.response
    if permit.ended is not None:
        return permit.ended
    if isinstance(found, Failure):
        return failure_response(found)
    if isinstance(found, ReadResult):
        size, woken = found.size, found.woken
        timing = _timing(services, found.ready, seconds, since)
        encode_response = partial(_encode_messages, found, timing)
    else:
        logs = [state for state in found if isinstance(state, ReadResult)]
        size = sum([log.size for log in logs])
        woken = max((log.woken for log in logs if log.woken), default=None)
        timing = _timing(services, any(state.ready for state in found), seconds, since)
        encode_response = partial(_encode_wait, items, found, timing)
    if size < _LARGE:
        response = encode_response()
    else:
        async with turns:
            response = encode_response()
    response.woken = woken
    return response


class _EarlyResponse:
    """Responds to a request for messages, in the task that has found them.

    Attributes:
        response: What was written; None if nothing was.
    """

    __slots__ = ("_request", "_seconds", "_services", "_since", "response")

    def __init__(
        self, services: Services, request: Request, seconds: float, since: float
    ) -> None:
        self.response: Response | None = None
        self._services = services
        self._request = request
        self._seconds = seconds
        self._since = since

    def __call__(self, found: ReadResult) -> None:
        """Write the response, unless it takes long to encode."""
        respond_now = self._request.respond_now
        if found.size < _LARGE and respond_now is not None:
            timing = _timing(self._services, True, self._seconds, self._since)
            response = _encode_messages(found, timing)
            response.woken = found.woken
            respond_now(self._request, response)
            self.response = response


def _read_query(settings: Settings, request: Request) -> WaitRequest:
    if request.path == _MESSAGES:
        return read_messages_query(request.parameters, settings)
    if request.method == "GET":
        return read_wait_query(request.parameters, settings)
    return read_wait(request.body, settings)


def _encode_messages(log: ReadResult, timing: dict[str, Any]) -> Response:
    return respond(messages_response(log, timing), 200)


def _encode_wait(
    items: Sequence[Item], found: Sequence[ItemState], timing: dict[str, Any]
) -> Response:
    results = list(map(item_result, items, found))
    return respond(WaitResponse(items=results, **timing), 200)


def _timing(
    services: Services, is_ready: bool, seconds: float, since: float
) -> dict[str, Any]:
    """Return the fields of a response that say how long was waited, and why."""
    draining = services.drain.released
    timing: dict[str, Any] = {
        # The clients of a server that is being replaced reconnect at different times.
        "retry_ms": random.randint(0, SPREAD_MS) if draining else 0,
        "wait": round(seconds, 3),
        "waited": round(trio.current_time() - since, 3),
    }
    if not is_ready:
        timing["code"] = "draining" if draining else "timeout"
    return timing


# --- publishing -----------------------------------------------------------------------


async def _publish(services: Services, request: Request) -> Response:
    try:
        drafts = read_publish(request.body, services.settings)
    except BadRequest as error:
        return refusal_response(error)
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
            return respond(error_response(Failure.SLOCK_REFUSED), 409)
        return failure_response(failures[0])
    is_done = not failures and all(
        each.woken for each in results if isinstance(each, Stored)
    )
    body = PublishResponse(items=list(map(_publish_result, results)))
    return respond(body, 200 if is_done else 202)


def _publish_result(result: Published) -> PublishResult:
    match result:
        case Unpublished(failure):
            return FailedResult(failure.value, FAILURES[failure])
        case Stored():
            return convert(result, StoredResult, from_attributes=True)
        case Signalled(version):
            return SignalResult(UNSET if version is None else version)
