"""``/poll/event`` and ``/poll/message``: parse, admit, wait, reply."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from dataclasses import replace

import trio

from ...asgi.json import plain_text
from ...asgi.messages import (
    UNCACHED_JSON,
    Endpoint,
    Request,
    Response,
    Routes,
    StreamingResponse,
)
from ...asgi.query import BadQuery, parse_query
from ...core.outcomes import (
    EventFired,
    Failure,
    MissingMessage,
    Outcome,
    PoppedMessage,
)
from ...core.poll_query import PollQuery
from ...services import Services
from ..refusals import format_poll, is_openresty_poll
from .query import parse_poll
from .replies import encode_event_reply, encode_message_reply, encode_rejection

__all__ = ["poll_routes"]

# Clients poll again with the same query, so what the latest short ones ask for is kept.
_CACHED_QUERIES = 4096
_CACHED_BYTES = 256


def poll_routes(services: Services, openresty: Routes) -> Routes:
    """Return the endpoints of the poll API.

    Args:
        services: What they work with.
        openresty: The endpoints of the OpenResty API. Two of them have the same paths,
            and get the polls that name their event ``key`` instead of ``event``.
    """
    poller = services.poller
    waits: dict[str, tuple[_Wait, _Encode]] = {
        "/poll/event": (poller.wait_event, encode_event_reply),
        "/poll/message": (poller.wait_message, encode_message_reply),
    }
    return {
        path: {"GET": _endpoint(services, wait, encode, openresty[path]["GET"])}
        for path, (wait, encode) in waits.items()
    }


# The second argument is who asks, as limits by visitor are counted.
_Wait = Callable[[PollQuery, str | None], Awaitable[Outcome]]
_Encode = Callable[[Outcome], bytes]


def _endpoint(
    services: Services, wait: _Wait, encode: _Encode, openresty: Endpoint
) -> Endpoint:
    """Return the endpoint of one path."""
    access, settings = services.access, services.settings

    @functools.lru_cache(maxsize=_CACHED_QUERIES)
    def parse_cached(raw: bytes) -> PollQuery:
        return parse_poll(parse_query(raw), settings)

    async def endpoint(request: Request) -> Response | StreamingResponse:
        # The OpenResty API names the event `key`; nearly all polls have no such bytes.
        if b"key=" in request.query and is_openresty_poll(request):
            return await openresty(request)
        try:
            if len(request.query) <= _CACHED_BYTES:
                query = parse_cached(request.query)
            else:
                query = parse_poll(request.parameters, settings)
        except BadQuery as error:
            return Response(encode_rejection(str(error)), headers=UNCACHED_JSON)
        permit = access.admit_subscriber(
            request, (query.key,), format_poll, changes=query.reset
        )
        if isinstance(permit, Response):
            return permit
        with permit:
            began = trio.current_time()
            outcome = await wait(query, permit.visitor.bucket)
            if isinstance(outcome, PoppedMessage) and outcome.data is None:
                outcome = await _after_empty(services, query, outcome, began)
        if permit.ended is not None:
            return permit.ended
        response = Response(encode(outcome), headers=UNCACHED_JSON)
        if isinstance(outcome, PoppedMessage):
            response.woken = outcome.woken
            response.ack, response.nack = outcome.ack, outcome.nack
        elif isinstance(outcome, EventFired):
            response.woken = outcome.woken
        return response

    return endpoint


async def _after_empty(
    services: Services, query: PollQuery, empty: PoppedMessage, began: float
) -> Outcome:
    """Return the message that is kept beside the event, or delay the empty reply.

    The OpenResty API's publishers keep the message of an event elsewhere, so an event
    that fires beside an empty list may belong to one of theirs.
    """
    until = began + query.timeout
    latest = await services.latest_messages.latest(query.key, until)
    if isinstance(latest, Failure):
        return latest
    if isinstance(latest, MissingMessage):
        return await services.poller.delay_empty(query, empty, began)
    return replace(empty, data=plain_text(latest.data))
