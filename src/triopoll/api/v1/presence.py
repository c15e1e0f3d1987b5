"""``/v1/presence`` and ``/v1/presence/changes``: who waits on a key."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import cast

from ...asgi.messages import Request, Response, Routes
from ...asgi.query import BadQuery
from ...core.outcomes import Failure
from ...core.presence import Presence
from ...core.wait_items import LogItem, ReadResult
from ...services import Services
from ...store import ALL, NEW, BadCursor, changes_key, parse_cursor
from ..refusals import format_v1
from ..validation import BadRequest
from .decoding import WaitRequest, read_changes_query, read_presence_query
from .responses import failure_response, refusal_response, respond
from .serializers import ErrorResponse, PresenceResponse, messages_response
from .timing import Timing

__all__ = ["presence_routes"]


def presence_routes(services: Services) -> Routes:
    """Return the endpoints of presence.

    Args:
        services: What the endpoints use.
    """
    return {
        "/v1/presence": {"GET": partial(_read, services)},
        "/v1/presence/changes": {"GET": partial(_changes, services)},
    }


async def _read(services: Services, request: Request) -> Response:
    """Serve ``/v1/presence``."""
    try:
        key = read_presence_query(request.parameters, services.settings)
    except (BadRequest, BadQuery) as error:
        return refusal_response(error)
    presence = _admit(services, request, key)
    if isinstance(presence, Response):
        return presence
    found = await presence.read(key)
    if isinstance(found, Failure):
        return failure_response(found)
    body = PresenceResponse(key, found.count, [*found.subjects], found.anonymous)
    return respond(body, 200)


async def _changes(services: Services, request: Request) -> Response:
    """Serve ``/v1/presence/changes``."""
    try:
        query = read_changes_query(request.parameters, services.settings)
        item = cast("LogItem", query.items[0])
        if item.cursor not in (NEW, ALL):
            parse_cursor(item.cursor)
    except (BadRequest, BadCursor, BadQuery) as error:
        return refusal_response(error)
    presence = _admit(services, request, item.key)
    if isinstance(presence, Response):
        return presence
    return await _wait_for_change(services, presence, query, item)


async def _wait_for_change(
    services: Services, presence: Presence, query: WaitRequest, item: LogItem
) -> Response:
    timing = Timing(services, query.timeout)
    with presence.following(item.key):
        # Before the read: "from now on" is behind the note that the recording begins.
        failure = await presence.record(item.key)
        if failure is not None:
            return failure_response(failure)
        log = replace(item, key=changes_key(item.key))
        found = await services.reader.wait_any([log], timing.seconds)
    if isinstance(found, Failure):
        return failure_response(found)
    result = cast("ReadResult", found[0])
    return respond(messages_response(result, timing.fields(result.ready)), 200)


def _admit(services: Services, request: Request, key: str) -> Presence | Response:
    """Return what knows who waits on a key, for a publisher to whom it is granted."""
    publisher = services.access.admit_publisher(request, [key], format_v1)
    if isinstance(publisher, Response):
        return publisher
    presence = services.presence
    if presence is None or not presence.keeps(key):
        message = "who waits on this key is not kept; see TRIOPOLL_PRESENCE"
        return respond(ErrorResponse("presence_off", message), 404)
    return presence
