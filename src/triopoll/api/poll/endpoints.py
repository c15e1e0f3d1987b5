"""``/poll/event`` and ``/poll/message``: read, wait, put into words."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial

from ...access import refuse_poll
from ...asgi.json import plain_text
from ...asgi.messages import UNCACHED_JSON, Answer, Request, Table
from ...core.latest_message import KeptMessages
from ...core.poller import Poller
from ...services import Services
from ..openresty.replies import Missing
from .query import BadParameter, PollQuery
from .replies import (
    EventFired,
    Failure,
    Message,
    Outcome,
    Reply,
    encode_reply,
    reject,
    reply_to_event,
    reply_to_message,
)

__all__ = ["poll_endpoints"]


def poll_endpoints(services: Callable[[], Services]) -> Table:
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
    reply_to: Callable[[Outcome], Reply],
    request: Request,
) -> Answer:
    poller = services().poller
    try:
        query = poller.parse(request.query)
    except BadParameter as error:
        return Answer(encode_reply(reject(str(error))), headers=UNCACHED_JSON)
    admission = services().gate.subscriber(request, (query.key,), refuse_poll)
    if isinstance(admission, Answer):
        return admission
    with admission.waiting():
        outcome = await wait(poller, query)
        if isinstance(outcome, Message) and outcome.data is None:
            outcome = await _kept_instead(services().kept, query.key, outcome)
    if admission.ended is not None:
        return admission.ended
    answer = Answer(encode_reply(reply_to(outcome)), headers=UNCACHED_JSON)
    if isinstance(outcome, (EventFired, Message)):
        answer.woken = outcome.woken
    if isinstance(outcome, Message):
        answer.confirm, answer.give_back = outcome.confirm, outcome.give_back
    return answer


async def _kept_instead(kept: KeptMessages, key: str, empty: Message) -> Outcome:
    """Look whether the event was set for a message that is in no list.

    The image's publishers keep it elsewhere.
    """
    latest = await kept.latest(key)
    if isinstance(latest, Failure):
        return latest
    if isinstance(latest, Missing):
        return empty
    return replace(empty, data=plain_text(latest.data))
