"""``/poll/event`` and ``/poll/message``: read, wait, put into words."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from quart import Blueprint, Response, request

from .delivery import parcel_of
from .envelope import (
    Message,
    Outcome,
    Reply,
    encode_reply,
    reject,
    reply_to_event,
    reply_to_message,
)
from .polling import Poller
from .query import BadParameter, PollQuery, parse_poll

__all__ = ["HEADERS", "poll_routes"]

# An answer to a wait is for this client and this moment; and nginx must not hold it.
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


def poll_routes(poller: Callable[[], Poller]) -> Blueprint:
    """Return the compatible endpoints.

    Args:
        poller: Returns the poller, which exists once the app serves.
    """
    routes = Blueprint("poll", __name__, url_prefix="/poll")

    @routes.get("/event")
    async def poll_event() -> Response:
        return await _answer(poller(), Poller.wait_event, reply_to_event)

    @routes.get("/message")
    async def poll_message() -> Response:
        return await _answer(poller(), Poller.wait_message, reply_to_message)

    return routes


async def _answer(
    poller: Poller,
    wait: Callable[[Poller, PollQuery], Awaitable[Outcome]],
    reply_to: Callable[[Outcome], Reply],
) -> Response:
    if request.method == "HEAD":
        # Quart would wait, take a message, and send an answer without a body.
        return Response(b"", status=405, headers={"Allow": "GET"})
    try:
        query = parse_poll(request.query_string, poller.settings)
    except BadParameter as error:
        return _respond(reject(str(error)))
    outcome = await wait(poller, query)
    if isinstance(outcome, Message):
        parcel_of(request.scope).take(outcome.give_back)
    return _respond(reply_to(outcome))


def _respond(reply: Reply) -> Response:
    return Response(encode_reply(reply), mimetype="application/json", headers=HEADERS)
