"""Between ASGI and the endpoints: read a body, watch for disconnects, send a response.

A client that disconnects must end its wait. Some servers cancel the application then
and say so in the scope (`CANCELS`); under the others a second task watches `receive()`.
A client that has vanished looks like one that reads; some servers can tell
(`ACKNOWLEDGED`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import trio

from .exceptions import only_error
from .messages import (
    ACKNOWLEDGED,
    Request,
    Response,
    StreamingResponse,
    json_response,
)
from .types import Message, Receive, Scope, Send

__all__ = [
    "BodyRefused",
    "SendStream",
    "read_body",
    "send_response",
    "serve_unless_disconnected",
]

# Sends a streaming response by a `send`; so many seconds are the limit for each piece.
SendStream: TypeAlias = Callable[[StreamingResponse, Send, float], Awaitable[None]]

# Seconds that a client may take to read a response, or a piece of a streaming one,
# where the server sets no limit.
_SEND_SECONDS = 15.0

# Headers of HTTP/1 without which a request has no body.
_FRAMING = (b"content-length", b"transfer-encoding")
_HTTP_1 = ("1.1", "1.0")


class BodyRefused(Exception):
    """The body is too long or too slow, or the client has disconnected.

    Attributes:
        response: What to answer; None if the client has disconnected.
    """

    def __init__(self, response: Response | None) -> None:
        super().__init__(response)
        self.response = response


async def read_body(
    scope: Scope, receive: Receive, limit: int, seconds: float
) -> bytes:
    """Read the body of a request.

    Args:
        scope: Of type "http".
        receive: ASGI's.
        limit: Bytes; a longer body is refused with 413 and not read to its end.
        seconds: Time that the body may take; a slower one is refused with 408.

    Raises:
        BodyRefused: It is too long or too slow, or the client has disconnected.

    Cancellation:
        What has been read is discarded.
    """
    if scope["http_version"] in _HTTP_1:
        for name, _ in scope["headers"]:
            if name in _FRAMING:
                break
        else:
            # Most requests. The head says that nothing follows, so nothing is late.
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


def _too_long(limit: int) -> Response:
    message = f"the body is longer than {limit} bytes"
    return json_response({"code": "body_too_long", "message": message}, 413)


async def serve_unless_disconnected(
    scope: Scope,
    receive: Receive,
    send: Send,
    respond: Callable[[Request], Awaitable[Response | StreamingResponse]],
    request: Request,
    sent: Callable[[float], None],
    send_stream: SendStream,
) -> None:
    """Call an endpoint and send its response, unless the client disconnects first.

    For servers that do not cancel the application then (`CANCELS`).

    Args:
        scope: Of type "http"; its extensions say what the server can do.
        receive: ASGI's; the body has been read.
        send: ASGI's.
        respond: Returns the response.
        request: Its argument.
        sent: Called when the response to a wait is with the connection, with the time
            at which the wait was woken.
        send_stream: Sends the response if it is a streaming one.

    Raises:
        OSError: The connection is broken (as ASGI has it).

    Cancellation:
        `respond` is cancelled; a response that was not handed over is nacked.
    """
    answered = False

    async def watch(cancel_scope: trio.CancelScope) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        # Hypercorn reports a disconnect from inside the `send()` of the body, after
        # it was written. That `send()` must not be cancelled.
        if not answered:
            cancel_scope.cancel()

    async def noting_send(message: Message) -> None:
        nonlocal answered
        is_body = message["type"] == "http.response.body"
        answered = is_body and not message.get("more_body", False)
        await send(message)

    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch, nursery.cancel_scope)
            response = await respond(request)
            if isinstance(response, StreamingResponse):
                await send_stream(response, noting_send, _SEND_SECONDS)
            else:
                with trio.move_on_after(_SEND_SECONDS):
                    await send_response(scope, noting_send, response, sent)
            nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        # The server knows a broken connection by its error, and not by a group.
        error = only_error(group)
        raise error from error.__cause__


async def send_response(
    scope: Scope, send: Send, response: Response, sent: Callable[[float], None]
) -> None:
    """Send a response, and ack or nack what it carries.

    Args:
        scope: Of type "http".
        send: ASGI's.
        response: What to send.
        sent: As for `serve_unless_disconnected`.

    Raises:
        OSError: The connection is broken (as ASGI has it).

    Cancellation:
        The response is nacked unless it was handed over, and acknowledged where the
        server can tell.
    """
    delivered = False
    try:
        if response.ack is not None:
            # The client may have disconnected in the moment in which the message was
            # popped. Some servers accept a response then and report no error.
            await trio.lowlevel.checkpoint()
        start = {"status": response.status, "headers": response.framed_headers}
        await send({"type": "http.response.start", **start})
        await send({"type": "http.response.body", "body": response.body})
        if response.woken is not None:
            sent(response.woken)
        # Only a response that carries a message waits for its acknowledgement.
        delivered = response.ack is None
        if not delivered:
            extensions: dict[str, Any] = scope.get("extensions") or {}
            # Where the server cannot tell, what is sent counts as delivered.
            delivered = (
                ACKNOWLEDGED not in extensions
                or await extensions[ACKNOWLEDGED]["wait"]()
            )
    finally:
        settle = response.ack if delivered else response.nack
        if settle is not None:
            settle()
