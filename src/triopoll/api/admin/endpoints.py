"""The endpoints of operators: check the key, read the request, ask, answer.

They are there only if operators' keys are configured. Each takes a key, so that nothing
is said to others: which keys are waited for is the business of the operator.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

import msgspec

from ...asgi.messages import UNCACHED_JSON, Request, Response, Routes
from ...asgi.query import BadQuery
from ...core.admin_reports import AdminReports, UnknownWorker
from ...core.backend_calls import call_store
from ...core.outcomes import OperationFailed
from ...core.publisher import Stored, Unpublished
from ...core.wait_census import KeyWaits, Waiter
from ...services import Services
from ...store import Cursor, LogTail, NewMessage, TailMessage, parse_cursor
from ..refusals import format_v1
from ..v1.responses import failure_response, refusal_response
from ..validation import BadRequest
from .decoding import (
    read_key_query,
    read_messages_query,
    read_test_message,
    read_waiters_query,
)

__all__ = ["admin_routes"]

# Bytes of a message that are shown.
_SHOWN = 2048
_encode = msgspec.json.encode
_Endpoint: TypeAlias = Callable[[Services, AdminReports, Request], Awaitable[Response]]


class CursorWaits(msgspec.Struct, kw_only=True):
    """The waits with one cursor.

    Attributes:
        position: The cursor, or what else says how far they have read; "" for none.
        waits: How many there are.
        lag: Messages between the cursor and the end of the log; None if the cursor is
            of no message of this log.
    """

    position: str
    waits: int
    lag: int | None


class KeyAnswer(msgspec.Struct, kw_only=True):
    """One key.

    Attributes:
        key: The key.
        head: The cursor at the end of its log; None where there is no log.
        stored: Messages in the log.
        waits: Waits on the key.
        oldest: Seconds for which the oldest of them is parked.
        cursors: Those with most waits first.
    """

    key: str
    head: str | None
    stored: int
    waits: int
    oldest: float
    cursors: list[CursorWaits]


class WaitersAnswer(msgspec.Struct, kw_only=True):
    """A page of waiters, and what to ask for the next one with; None at the end."""

    waiters: list[Waiter]
    next: str | None


class ShownMessage(msgspec.Struct, kw_only=True):
    """A message, or the beginning of a long one.

    Attributes:
        id: Its id.
        ts: When it was published, in Unix seconds.
        size: Bytes of the whole message.
        text: Its beginning; what is not UTF-8 in it is replaced.
        is_json: The message is a JSON value.
        is_cut: There is more of it.
    """

    id: str
    ts: float
    size: int
    text: str
    is_json: bool
    is_cut: bool


class MessagesAnswer(msgspec.Struct, kw_only=True):
    """A page of messages, the newest first, and the id before which to go on."""

    messages: list[ShownMessage]
    next: str | None


class PublishedAnswer(msgspec.Struct, kw_only=True):
    """A test message was stored; whether the waits for it have been woken, too."""

    id: str
    woken: bool


def admin_routes(services: Services) -> Routes:
    """Return the endpoints; none where no operator's key is configured.

    Args:
        services: What the endpoints use.
    """
    if services.admin is None:
        return {}
    bound = partial(_answer, services, services.admin)
    return {
        "/admin/api/overview": {"GET": partial(bound, _overview)},
        "/admin/api/key": {"GET": partial(bound, _key)},
        "/admin/api/waiters": {"GET": partial(bound, _waiters)},
        "/admin/api/messages": {"GET": partial(bound, _messages)},
        "/admin/api/publish": {"POST": partial(bound, _publish)},
    }


async def _answer(
    services: Services, admin: AdminReports, endpoint: _Endpoint, request: Request
) -> Response:
    # Before the request is read: what is wrong with it is said to operators only.
    refused = _refuse(services, request)
    if refused is not None:
        return refused
    try:
        return await endpoint(services, admin, request)
    except _NotGranted as refusal:
        return refusal.response
    except (BadRequest, BadQuery) as error:
        return refusal_response(error)
    except OperationFailed as error:
        return failure_response(error.failure)
    except UnknownWorker as error:
        return _respond({"code": "unknown_worker", "message": str(error)}, 404)


class _NotGranted(Exception):
    def __init__(self, response: Response) -> None:
        super().__init__("the key is not granted")
        self.response = response


def _refuse(
    services: Services, request: Request, keys: Sequence[str] = ()
) -> Response | None:
    admitted = services.access.admit_admin(request, keys, format_v1)
    return admitted if isinstance(admitted, Response) else None


def _check_grant(services: Services, request: Request, key: str) -> None:
    refused = _refuse(services, request, (key,))
    if refused is not None:
        raise _NotGranted(refused)


async def _overview(
    services: Services, admin: AdminReports, request: Request
) -> Response:
    return _respond(await admin.overview())


async def _key(services: Services, admin: AdminReports, request: Request) -> Response:
    (key,) = read_key_query(request, services.settings)
    _check_grant(services, request, key)
    tail = await _tail(services, key, 1)
    return _respond(_key_answer(key, tail, await admin.key_waits(key)))


async def _waiters(
    services: Services, admin: AdminReports, request: Request
) -> Response:
    query = read_waiters_query(request, services.settings)
    _check_grant(services, request, query.key)
    found, following = await admin.waiters(*query)
    page = None if following is None else "{}:{}".format(*following)
    return _respond(WaitersAnswer(waiters=found, next=page))


async def _messages(
    services: Services, admin: AdminReports, request: Request
) -> Response:
    query = read_messages_query(request, services.settings)
    _check_grant(services, request, query.key)
    tail = await _tail(services, query.key, query.limit, query.before)
    following = None
    if tail.before is not None and tail.head is not None:
        # Only its number counts: the message may be gone.
        following = str(parse_cursor(tail.head)._replace(n=tail.before))
    shown = list(map(_shown, tail.messages))
    return _respond(MessagesAnswer(messages=shown, next=following))


async def _publish(
    services: Services, admin: AdminReports, request: Request
) -> Response:
    message = read_test_message(request.body, services.settings)
    _check_grant(services, request, message.key)
    draft = NewMessage(message.key, message.data.encode())
    (result,) = await services.publisher.publish([draft])
    if isinstance(result, Unpublished):
        return failure_response(result.failure)
    assert isinstance(result, Stored)
    return _respond(PublishedAnswer(id=result.id, woken=result.woken))


async def _tail(
    services: Services, key: str, limit: int, before: int | None = None
) -> LogTail:
    args = key, limit, _SHOWN, before
    return await call_store(services.settings.backend_limit, services.log.tail, *args)


def _key_answer(key: str, tail: LogTail, waits: KeyWaits) -> KeyAnswer:
    head = None if tail.head is None else parse_cursor(tail.head)
    cursors = [
        CursorWaits(position=position, waits=count, lag=_lag(head, position))
        for position, count in waits.positions.items()
    ]
    return KeyAnswer(
        key=key,
        head=tail.head,
        stored=tail.stored,
        waits=waits.total,
        oldest=waits.oldest,
        cursors=cursors,
    )


def _lag(head: Cursor | None, position: str) -> int | None:
    """Return how many messages are behind a cursor, if it is of the same log."""
    try:
        place = parse_cursor(position)
    except ValueError:
        return None
    is_known = head is not None and head.epoch == place.epoch
    return max(0, head.n - place.n) if head is not None and is_known else None


def _shown(message: TailMessage) -> ShownMessage:
    return ShownMessage(
        id=message.id,
        ts=message.ts,
        size=message.size,
        text=message.data.decode("utf-8", "replace"),
        is_json=message.is_json,
        is_cut=len(message.data) < message.size,
    )


def _respond(body: Any, status: int = 200) -> Response:
    return Response(_encode(body), status, UNCACHED_JSON)
