"""``/poll/event`` and ``/poll/message``: read, wait, put into words."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial

from ...access import refuse_poll
from ...asgi.json import plain_text
from ...asgi.messages import UNCACHED_JSON, Request, Response, Routes
from ...core.latest_message import LatestMessages
from ...core.outcomes import EventFired, Failure, MissingMessage, Outcome, PoppedMessage
from ...core.poll_query import PollQuery
from ...core.poller import Poller
from ...services import Services
from .query import BadParameter
from .replies import PollReply, encode_reply, reject, reply_to_event, reply_to_message

__all__ = ["poll_routes"]


def poll_routes(services: Callable[[], Services]) -> Routes:
    """Return the compatible endpoints.

    Args:
        services: Returns what they work with, which exists once the app serves.
    """
    event = partial(_poll, services, Poller.wait_event, reply_to_event)
    message = partial(_poll, services, Poller.wait_message, reply_to_message)
    return {"/poll/event": {"GET": event}, "/poll/message": {"GET": message}}


async def _poll(
    services: Callable[[], Services],
    wait: Callable[[Poller, PollQuery], Awaitable[Outcome]],
    reply_to: Callable[[Outcome], PollReply],
    request: Request,
) -> Response:
    poller = services().poller
    try:
        query = poller.parse(request.query)
    except BadParameter as error:
        return Response(encode_reply(reject(str(error))), headers=UNCACHED_JSON)
    admission = services().gate.subscriber(request, (query.key,), refuse_poll)
    if isinstance(admission, Response):
        return admission
    with admission.waiting():
        outcome = await wait(poller, query)
        if isinstance(outcome, PoppedMessage) and outcome.data is None:
            outcome = await _kept_instead(services().kept, query.key, outcome)
    if admission.ended is not None:
        return admission.ended
    answer = Response(encode_reply(reply_to(outcome)), headers=UNCACHED_JSON)
    if isinstance(outcome, (EventFired, PoppedMessage)):
        answer.woken = outcome.woken
    if isinstance(outcome, PoppedMessage):
        answer.confirm, answer.give_back = outcome.confirm, outcome.give_back
    return answer


async def _kept_instead(
    kept: LatestMessages, key: str, empty: PoppedMessage
) -> Outcome:
    """Look whether the event was set for a message that is in no list.

    The image's publishers keep it elsewhere.
    """
    latest = await kept.latest(key)
    if isinstance(latest, Failure):
        return latest
    if isinstance(latest, MissingMessage):
        return empty
    return replace(empty, data=plain_text(latest.data))
