"""Endpoints served straight from ASGI: a parked poll keeps alive only what it needs.

Quart gives each request a context, a session, a request and a response object and two
tasks, and that is most of what a poll costs (see docs/explanation/performance). None of
it is of use to an endpoint here.

A client that leaves must end its wait. Some carriers cancel the application then and
say so in the scope (`CANCELS`); for the others a second task waits for the disconnect.
A client that has vanished looks like one that reads; some carriers can tell (`TAKEN`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import trio

from .messages import CANCELS, TAKEN, Request, Response, json_response
from .types import Message, Receive, Scope, Send

__all__ = ["BodyRefused", "serve_lean"]

# Seconds that a client may take to read its answer, where the server sets no limit.
_SEND_SECONDS = 15.0

# Headers of HTTP/1 without which a request has no body.
_FRAMING = (b"content-length", b"transfer-encoding")
_ONE_X = ("1.1", "1.0")

_Taken = Callable[[], Awaitable[bool]]


class BodyRefused(Exception):
    """The body is too long, too slow or broken off.

    Attributes:
        answer: Says so; None if nobody listens.
    """

    def __init__(self, answer: Response | None) -> None:
        super().__init__(answer)
        self.answer = answer


async def serve_lean(
    scope: Scope,
    receive: Receive,
    send: Send,
    serve: Callable[[Request], Awaitable[Response]],
    *,
    sent: Callable[[Response], None],
    max_body_bytes: int,
    body_seconds: float,
) -> None:
    """Serve one HTTP request with an endpoint.

    Args:
        scope: Of type "http".
        receive: ASGI's.
        send: ASGI's.
        serve: Finds the endpoint, or the answer where there is none.
        sent: Told of each of its answers that is with the connection.
        max_body_bytes: A longer body is answered 413.
        body_seconds: Time that the body may take; a slower one is answered 408.

    Cancellation:
        The endpoint is cancelled, and what its answer carried is given back.
    """
    try:
        body = await _read_body(scope, receive, max_body_bytes, body_seconds)
    except BodyRefused as error:
        if error.answer is not None:
            await _send_answer(send, error.answer, _tell_nobody, _sent_is_taken)
        return
    client = scope.get("client")
    request = Request(
        scope["method"],
        scope["path"],
        scope["query_string"],
        scope["headers"],
        client[0] if client else None,
        body,
    )
    extensions: dict[str, Any] = scope.get("extensions") or {}
    taken: _Taken = extensions[TAKEN]["wait"] if TAKEN in extensions else _sent_is_taken
    if CANCELS in extensions:
        await _send_answer(send, await serve(request), sent, taken)
    else:
        await _serve_unless_gone(receive, send, serve, request, sent, taken)


async def _read_body(
    scope: Scope, receive: Receive, limit: int, seconds: float
) -> bytes:
    if _has_no_body(scope):
        # Most requests. There is nothing that could be late.
        if (await receive())["type"] == "http.request":
            return b""
        raise BodyRefused(None)
    pieces = bytearray()
    with trio.move_on_after(seconds):
        while (message := await receive())["type"] == "http.request":
            pieces += message.get("body", b"")
            if len(pieces) > limit:
                raise BodyRefused(_too_long(limit))
            if not message.get("more_body"):
                return bytes(pieces)
        raise BodyRefused(None)
    shape = {"code": "slow_body", "message": "the body did not arrive in time"}
    raise BodyRefused(json_response(shape, 408))


def _has_no_body(scope: Scope) -> bool:
    """Return whether a request ends with its head; HTTP/2 does not say so in it."""
    return scope["http_version"] in _ONE_X and not any(
        name in _FRAMING for name, _ in scope["headers"]
    )


def _too_long(limit: int) -> Response:
    message = f"the body is longer than {limit} bytes"
    return json_response({"code": "body_too_long", "message": message}, 413)


async def _serve_unless_gone(
    receive: Receive,
    send: Send,
    serve: Callable[[Request], Awaitable[Response]],
    request: Request,
    sent: Callable[[Response], None],
    taken: _Taken,
) -> None:
    """Serve a request, and stop when its client leaves before the answer is out.

    Hypercorn reports a disconnect from inside the `send()` of the body, once that is
    done; this must not cancel it.
    """
    answered = False

    async def watch(scope: trio.CancelScope) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        if not answered:
            scope.cancel()

    async def noting_send(message: Message) -> None:
        nonlocal answered
        answered = message["type"] == "http.response.body"
        await send(message)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch, nursery.cancel_scope)
        answer = await serve(request)
        with trio.move_on_after(_SEND_SECONDS):
            await _send_answer(noting_send, answer, sent, taken)
        nursery.cancel_scope.cancel()


async def _send_answer(
    send: Send, answer: Response, sent: Callable[[Response], None], taken: _Taken
) -> None:
    length = (b"content-length", b"%d" % len(answer.body))
    is_taken = False
    try:
        if answer.confirm is not None:
            # Its client may have left in the moment in which it was taken: some
            # servers then take what is sent, and say nothing.
            await trio.lowlevel.checkpoint()
        await send(
            {
                "type": "http.response.start",
                "status": answer.status,
                "headers": [*answer.headers, length],
            }
        )
        await send({"type": "http.response.body", "body": answer.body})
        sent(answer)
        # Only what would be lost is worth the wait.
        is_taken = answer.confirm is None or await taken()
    finally:
        answer.settle(handed_over=is_taken)


def _tell_nobody(answer: Response) -> None:
    pass


async def _sent_is_taken() -> bool:
    return True
