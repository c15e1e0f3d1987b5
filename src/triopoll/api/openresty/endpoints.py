"""The OpenResty image's endpoints: its waits, and its publishers' side.

Two of its waits have the paths of the recipe's, and other parameters and replies. A
poll says by the name of its first parameter which of the two it means.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeAlias, TypeVar

from ...access import Shape, refuse_manage, refuse_poll
from ...asgi.json import BadJson, check_json
from ...asgi.messages import UNCACHED_JSON, Endpoint, Request, Response, Routes
from ...services import Services
from ..poll.query import BadParameter
from .query import (
    is_openresty_poll,
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

__all__ = ["openresty_routes", "refusing"]

# What the recipe has as well.
_BOTH = ("/poll/event", "/poll/message")

_T = TypeVar("_T")
_Work: TypeAlias = Callable[[Services, Request], Awaitable[Response]]


class _NotAdmitted(Exception):
    """The gate says no, or no longer; `answer` says why."""

    def __init__(self, answer: Response) -> None:
        super().__init__(answer)
        self.answer = answer


def openresty_routes(services: Callable[[], Services], recipe: Routes) -> Routes:
    """Return the image's endpoints.

    Args:
        services: Returns what they work with, which exists once the app serves.
        recipe: The endpoints that have the paths of its two waits as well, and get
            the polls that name their event ``event`` instead of ``key``.
    """

    def either(path: str, work: _Work) -> dict[str, Endpoint]:
        image = partial(_answer, services, work)
        return {"GET": partial(_either, image, recipe[path]["GET"])}

    def publisher(work: _Work) -> dict[str, Endpoint]:
        # The image does not look at the method.
        endpoint = partial(_answer, services, work)
        return dict.fromkeys(("GET", "POST"), endpoint)

    return {
        "/poll/event": either("/poll/event", _wait_event),
        "/poll/message": either("/poll/message", _wait_message),
        "/poll/group/message": {"GET": partial(_answer, services, _wait_group)},
        "/poll/event/emit": publisher(_emit),
        "/poll/message/send": publisher(_send),
        "/poll/group/message/create": publisher(_create_group),
        "/poll/group/message/send": publisher(_send_group),
    }


def refusing(request: Request) -> Shape:
    """Return how a request below ``/poll/`` is refused: in its own dialect."""
    recipe = request.path in _BOTH and not is_openresty_poll(request.query)
    return refuse_poll if recipe else refuse_manage


def _either(image: Endpoint, recipe: Endpoint, request: Request) -> Awaitable[Response]:
    """Choose, and be gone: a parked poll does not pay for this."""
    return (image if is_openresty_poll(request.query) else recipe)(request)


async def _answer(
    services: Callable[[], Services], work: _Work, request: Request
) -> Response:
    try:
        return await work(services(), request)
    except BadParameter as error:
        return _write(reject_openresty(str(error)))
    except _NotAdmitted as error:
        return error.answer


def _write(reply: OpenRestyReply) -> Response:
    return Response(encode_openresty_reply(reply), headers=UNCACHED_JSON)


async def _wait_event(services: Services, request: Request) -> Response:
    query = parse_openresty_poll(request.query, services.settings)
    wait = partial(services.poller.wait_event, query)
    outcome = await _admitted(services, request, query.key, wait)
    return _write(reply_to_event(outcome))


async def _wait_message(services: Services, request: Request) -> Response:
    query = parse_openresty_poll(request.query, services.settings)
    wait = partial(services.kept.wait, query)
    outcome = await _admitted(services, request, query.key, wait)
    return _write(reply_to_message(outcome, timeout="wait event timeout"))


async def _wait_group(services: Services, request: Request) -> Response:
    query = parse_group_poll(request.query, services.settings)
    wait = partial(services.groups.wait, query)
    outcome = await _admitted(services, request, query.key, wait)
    return _write(reply_to_message(outcome, timeout="wait timeout"))


async def _emit(services: Services, request: Request) -> Response:
    sending = parse_sending(request.query, services.settings)
    _check_publisher(services, request, sending.key)
    return _write(reply_to_publisher(await services.kept.emit(sending)))


async def _send(services: Services, request: Request) -> Response:
    sending = parse_sending(request.query, services.settings)
    _check_publisher(services, request, sending.key)
    text = _text(request.body) if sending.to_list else _json(request.body)
    failure = await services.kept.send(sending, text.encode())
    data = json.dumps(text, ensure_ascii=False) if sending.to_list else text
    return _write(reply_to_publisher(failure, data))


async def _create_group(services: Services, request: Request) -> Response:
    creation = parse_group_creation(request.query, services.settings)
    _check_publisher(services, request, creation.key)
    number = await services.groups.create(creation)
    return _write(reply_to_group_creator(number, creation.message_id))


async def _send_group(services: Services, request: Request) -> Response:
    sending = parse_group_sending(request.query, services.settings)
    _check_publisher(services, request, sending.key)
    message = _json(request.body)
    number = await services.groups.send(sending, message.encode())
    return _write(reply_to_group_sender(number, message))


async def _admitted(
    services: Services, request: Request, key: str, wait: Callable[[], Awaitable[_T]]
) -> _T:
    """Wait, if this is somebody who may, and for as long as he may."""
    admission = services.gate.subscriber(request, (key,), refuse_manage)
    if isinstance(admission, Response):
        raise _NotAdmitted(admission)
    with admission.waiting():
        outcome = await wait()
    if admission.ended is not None:
        raise _NotAdmitted(admission.ended)
    return outcome


def _check_publisher(services: Services, request: Request, key: str) -> None:
    publisher = services.gate.publisher(request, (key,), refuse_manage)
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
