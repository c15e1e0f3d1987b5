"""The endpoints of the OpenResty API: its waits, and its publishers' side.

Two of its waits have the paths of the poll API, and other parameters and replies: a
poll says by the name of its first parameter which of the two it means.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeAlias, TypeVar

from ...asgi.json import BadJson, check_json
from ...asgi.messages import UNCACHED_JSON, Endpoint, Request, Response, Routes
from ...asgi.query import BadQuery
from ...services import Services
from ..poll.query import BadParameter
from ..refusals import format_openresty
from .query import (
    parse_group_creation,
    parse_group_poll,
    parse_group_sending,
    parse_openresty_poll,
    parse_sending,
)
from .replies import (
    OpenRestyReply,
    encode_openresty_reply,
    reject_openresty,
    reply_to_event,
    reply_to_group_creator,
    reply_to_group_sender,
    reply_to_message,
    reply_to_publisher,
)

__all__ = ["openresty_routes"]

_T = TypeVar("_T")
_Work: TypeAlias = Callable[[Services, Request], Awaitable[OpenRestyReply]]


class _NotAdmitted(Exception):
    """The request may not do this, or not any longer; `response` says why."""

    def __init__(self, response: Response) -> None:
        super().__init__(response)
        self.response = response


def openresty_routes(services: Services) -> Routes:
    """Return the endpoints of the OpenResty API."""

    def serve(work: _Work) -> Endpoint:
        return partial(_respond, services, work)

    def serve_publisher(work: _Work) -> dict[str, Endpoint]:
        # The image accepts any method.
        return dict.fromkeys(("GET", "POST"), serve(work))

    return {
        "/poll/event": {"GET": serve(_wait_event)},
        "/poll/message": {"GET": serve(_wait_message)},
        "/poll/group/message": {"GET": serve(_wait_group)},
        "/poll/event/emit": serve_publisher(_emit),
        "/poll/message/send": serve_publisher(_send),
        "/poll/group/message/create": serve_publisher(_create_group),
        "/poll/group/message/send": serve_publisher(_send_group),
    }


async def _respond(services: Services, work: _Work, request: Request) -> Response:
    try:
        reply = await work(services, request)
    except BadQuery as error:
        reply = reject_openresty(str(error))
    except _NotAdmitted as error:
        return error.response
    return Response(encode_openresty_reply(reply), headers=UNCACHED_JSON)


async def _wait_event(services: Services, request: Request) -> OpenRestyReply:
    query = parse_openresty_poll(request.parameters, services.settings)
    wait = partial(services.poller.wait_event, query)
    outcome = await _admitted(services, request, query.key, wait)
    return reply_to_event(outcome)


async def _wait_message(services: Services, request: Request) -> OpenRestyReply:
    query = parse_openresty_poll(request.parameters, services.settings)
    wait = partial(services.latest_messages.wait, query)
    outcome = await _admitted(services, request, query.key, wait)
    return reply_to_message(outcome, timeout="wait event timeout")


async def _wait_group(services: Services, request: Request) -> OpenRestyReply:
    query = parse_group_poll(request.parameters, services.settings)
    wait = partial(services.group_messages.wait, query)
    outcome = await _admitted(services, request, query.key, wait)
    return reply_to_message(outcome, timeout="wait timeout")


async def _emit(services: Services, request: Request) -> OpenRestyReply:
    sending = parse_sending(request.parameters, services.settings)
    _check_publisher(services, request, sending.key)
    return reply_to_publisher(await services.latest_messages.emit(sending))


async def _send(services: Services, request: Request) -> OpenRestyReply:
    sending = parse_sending(request.parameters, services.settings)
    _check_publisher(services, request, sending.key)
    text = _text(request.body) if sending.to_list else _json(request.body)
    failure = await services.latest_messages.send(sending, text.encode())
    data = json.dumps(text, ensure_ascii=False) if sending.to_list else text
    return reply_to_publisher(failure, data)


async def _create_group(services: Services, request: Request) -> OpenRestyReply:
    creation = parse_group_creation(request.parameters, services.settings)
    _check_publisher(services, request, creation.key)
    number = await services.group_messages.create(creation)
    return reply_to_group_creator(number, creation.message_id)


async def _send_group(services: Services, request: Request) -> OpenRestyReply:
    sending = parse_group_sending(request.parameters, services.settings)
    _check_publisher(services, request, sending.key)
    message = _json(request.body)
    number = await services.group_messages.send(sending, message.encode())
    return reply_to_group_sender(number, message)


async def _admitted(
    services: Services, request: Request, key: str, wait: Callable[[], Awaitable[_T]]
) -> _T:
    """Wait, if the subscriber may, and for as long as it may."""
    permit = services.access.admit_subscriber(request, (key,), format_openresty)
    if isinstance(permit, Response):
        raise _NotAdmitted(permit)
    with permit:
        outcome = await wait()
    if permit.ended is not None:
        raise _NotAdmitted(permit.ended)
    return outcome


def _check_publisher(services: Services, request: Request, key: str) -> None:
    publisher = services.access.admit_publisher(request, (key,), format_openresty)
    if isinstance(publisher, Response):
        raise _NotAdmitted(publisher)


def _json(body: bytes) -> str:
    try:
        return check_json(_given(body))
    except BadJson:
        raise BadParameter("message error") from None


def _text(body: bytes) -> str:
    try:
        return _given(body).decode()
    except UnicodeDecodeError:
        raise BadParameter("message is not UTF-8") from None


def _given(body: bytes) -> bytes:
    if not body:
        raise BadParameter("body empty")
    return body
