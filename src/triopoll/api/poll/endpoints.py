"""``/poll/event`` and ``/poll/message``: parse, admit, wait, reply."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from dataclasses import replace

import trio

from ...access import Permit
from ...asgi.json import plain_text
from ...asgi.messages import (
    UNCACHED_JSON,
    Answer,
    Endpoint,
    Request,
    Response,
    Routes,
)
from ...asgi.query import BadQuery, parse_query
from ...core.event_wait import EventWait
from ...core.outcomes import (
    EventFired,
    Failure,
    MissingMessage,
    Outcome,
    PoppedMessage,
)
from ...core.poll_query import PollQuery
from ...services import Services
from ..pending_response import PendingResponse
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
        "/poll/event": (poller.begin_event, encode_event_reply),
        "/poll/message": (poller.begin_message, encode_message_reply),
    }
    return {
        path: {"GET": _endpoint(services, wait, encode, openresty[path]["GET"])}
        for path, (wait, encode) in waits.items()
    }


# The second argument is who asks, as limits by visitor are counted.
_Wait = Callable[[PollQuery, str | None], Awaitable[Outcome | EventWait]]
_Encode = Callable[[Outcome], bytes]


def _endpoint(
    services: Services, wait: _Wait, encode: _Encode, openresty: Endpoint
) -> Endpoint:
    """Return the endpoint of one path."""
    access, settings = services.access, services.settings

    @functools.lru_cache(maxsize=_CACHED_QUERIES)
    def parse_cached(raw: bytes) -> PollQuery:
        return parse_poll(parse_query(raw), settings)

    async def endpoint(request: Request) -> Answer:
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
        with _PendingPoll(permit, services, query, encode) as pending:
            found = await wait(query, permit.visitor.bucket)
            if isinstance(found, EventWait):
                return pending.after(found)
            return await pending.respond(found)

    return endpoint


class _PendingPoll(PendingResponse[Outcome]):
    """The response to a poll."""

    __slots__ = ("_began", "_encode", "_has_looked", "_query", "_services")

    def __init__(
        self, permit: Permit, services: Services, query: PollQuery, encode: _Encode
    ) -> None:
        super().__init__(permit)
        self._services = services
        self._query = query
        self._encode = encode
        self._began = trio.current_time()
        # For a message beside an empty list.
        self._has_looked = False

    def _respond(self, outcome: Outcome) -> Response | None:
        if isinstance(outcome, PoppedMessage):
            if outcome.data is None and not self._has_looked:
                return None
            response = Response(self._encode(outcome), headers=UNCACHED_JSON)
            response.woken = outcome.woken
            response.ack, response.nack = outcome.ack, outcome.nack
            return response
        response = Response(self._encode(outcome), headers=UNCACHED_JSON)
        if isinstance(outcome, EventFired):
            response.woken = outcome.woken
        return response

    async def _respond_in_task(self, outcome: Outcome) -> Response:
        assert isinstance(outcome, PoppedMessage)
        services, query, began = self._services, self._query, self._began
        outcome = await _after_empty(services, query, outcome, began)
        self._has_looked = True
        response = self._respond(outcome)
        assert response is not None
        return response


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
