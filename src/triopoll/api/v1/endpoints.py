"""``/v1/messages``, ``/v1/wait`` and ``/v1/publish``: decode, check access, respond."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import cast

import trio
from msgspec import UNSET, convert

from ...access import Permit
from ...asgi.messages import Answer, Request, Response, Routes
from ...asgi.query import BadQuery
from ...core.log_wait import LogWait
from ...core.outcomes import Failure
from ...core.publisher import Pending, Published, Signalled, Stored, Unpublished
from ...core.wait_items import Item, ItemState, LogItem, ReadResult
from ...services import Services
from ...store import BadCursor
from ..pending_response import PendingResponse
from ..refusals import format_v1
from ..validation import BadRequest, check_key, check_length
from .decoding import (
    read_messages_query,
    read_publish,
    read_wait,
    read_wait_query,
)
from .live_messages import stream_messages
from .pending_ids import pending_id, read_pending_id
from .responses import (
    FAILURES,
    LARGE,
    error_response,
    failure_response,
    refusal_response,
    respond,
)
from .schemas import MAX_ID_BYTES
from .serializers import (
    CancelledResponse,
    DeliveredResponse,
    ErrorResponse,
    FailedResult,
    PendingResult,
    PublishResponse,
    PublishResult,
    SignalResult,
    StoredResult,
    WaitResponse,
    item_result,
    messages_response,
)
from .timing import Timing

__all__ = ["v1_routes"]


def v1_routes(services: Services) -> Routes:
    """Return the endpoints of `/v1`.

    Args:
        services: What the endpoints use.
    """
    # Hundreds of clients may request a large page at once. One after the other, each
    # response is with its connection before the next one is encoded: others are served
    # in between, and the limit of unread bytes holds.
    turns = trio.Lock()
    wait = partial(_wait, services, turns)
    return {
        "/v1/messages": {"GET": partial(_messages, services, turns)},
        "/v1/wait": {"GET": wait, "POST": wait},
        "/v1/publish": {"POST": partial(_publish, services)},
        "/v1/publish/{id}": {"DELETE": partial(_cancel, services)},
    }


# --- reading --------------------------------------------------------------------------


async def _messages(services: Services, turns: trio.Lock, request: Request) -> Answer:
    """Serve ``/v1/messages``."""
    try:
        query = read_messages_query(request.parameters, services.settings)
        (item,) = query.items
        permit = services.access.admit_subscriber(request, [item.key], format_v1)
        if isinstance(permit, Response):
            return permit
        if query.is_live:
            return stream_messages(services, turns, request, query, permit)
        timing = Timing(services, query.timeout)
        with _PendingMessages(permit, timing, turns) as pending:
            found = await services.reader.begin_messages(
                cast("LogItem", item), timing.seconds, permit.visitor.bucket
            )
            if isinstance(found, LogWait):
                return pending.after(found)
            return await pending.respond(found)
    except (BadRequest, BadCursor, BadQuery) as error:
        return refusal_response(error)


class _PendingMessages(PendingResponse[ReadResult | Failure]):
    """The response of ``/v1/messages``."""

    __slots__ = ("_timing", "_turns")

    def __init__(self, permit: Permit, timing: Timing, turns: trio.Lock) -> None:
        super().__init__(permit)
        self._timing = timing
        self._turns = turns

    def _respond(self, outcome: ReadResult | Failure) -> Response | None:
        if isinstance(outcome, Failure):
            return failure_response(outcome)
        if outcome.size >= LARGE:
            return None
        return self._encode(outcome)

    async def _respond_in_task(self, outcome: ReadResult | Failure) -> Response:
        assert isinstance(outcome, ReadResult)
        async with self._turns:
            return self._encode(outcome)

    def _encode(self, found: ReadResult) -> Response:
        body = messages_response(found, self._timing.fields(found.ready))
        response = respond(body, 200)
        response.woken = found.woken
        return response


async def _wait(services: Services, turns: trio.Lock, request: Request) -> Response:
    """Serve ``/v1/wait``."""
    settings = services.settings
    try:
        if request.method == "GET":
            query = read_wait_query(request.parameters, settings)
        else:
            query = read_wait(request.body, settings)
        keys = [item.key for item in query.items]
        permit = services.access.admit_subscriber(request, keys, format_v1)
        if isinstance(permit, Response):
            return permit
        timing = Timing(services, query.timeout)
        with permit:
            found = await services.reader.wait_any(
                query.items, timing.seconds, permit.visitor.bucket
            )
    except (BadRequest, BadCursor, BadQuery) as error:
        return refusal_response(error)
    if permit.ended is not None:
        return permit.ended
    if isinstance(found, Failure):
        return failure_response(found)
    logs = [state for state in found if isinstance(state, ReadResult)]
    encode_response = partial(_encode_wait, query.items, found, timing)
    if sum([log.size for log in logs]) < LARGE:
        response = encode_response()
    else:
        async with turns:
            response = encode_response()
    response.woken = max((log.woken for log in logs if log.woken), default=None)
    return response


def _encode_wait(
    items: Sequence[Item], found: Sequence[ItemState], timing: Timing
) -> Response:
    results = list(map(item_result, items, found))
    fields = timing.fields(any(state.ready for state in found))
    return respond(WaitResponse(items=results, **fields), 200)


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


async def _cancel(services: Services, request: Request) -> Response:
    """Serve ``DELETE /v1/publish/ID``."""
    given = request.path_values["id"]
    try:
        key, name = read_pending_id(given)
        check_key(key, services.settings.max_key_bytes, "the id", "key")
        check_length(name, MAX_ID_BYTES, "the id", "id")
    except BadRequest:
        # No publish returns such an id.
        return _not_pending()
    publisher = services.access.admit_publisher(request, [key], format_v1)
    if isinstance(publisher, Response):
        return publisher
    found = await services.delayed.cancel(key, name)
    if isinstance(found, Failure):
        return failure_response(found)
    if isinstance(found, str):
        body = DeliveredResponse(message="the message is delivered", id=found)
        return respond(body, 409)
    return respond(CancelledResponse(given), 200) if found else _not_pending()


def _not_pending() -> Response:
    return respond(ErrorResponse("unknown", "no such message is pending"), 404)


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
        case Pending():
            id_ = pending_id(result.key, result.name)
            return PendingResult(id_, True, round(result.due, 3), result.replaced)
        case Signalled(version):
            return SignalResult(UNSET if version is None else version)
