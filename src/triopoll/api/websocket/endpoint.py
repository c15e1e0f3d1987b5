"""Websockets served straight from ASGI: the handshake, the frames, the close.

Quart's websocket layer would put two tasks and a queue between a client and its
session, and hide which send was not taken. What is said over a websocket, and when it
ends, is decided in `websocket_session`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable

import trio

from ...access import Permit, refuse_v1
from ...access.headers import parameter_values
from ...asgi.messages import Request, Response, json_response
from ...asgi.types import Receive, Scope, Send
from ...core.wait_items import LogItem
from ...ops.drain import Drain
from ...ops.metrics import Metrics
from ...services import Services
from ...settings import Settings
from ...store import ALL, NEW, BadCursor, parse_cursor
from ..poll.query import BadParameter, parse_poll
from .codecs import Codec, PollCodec, V1Codec
from .frames import Frame, FrameLimits, Subscribe
from .session import (
    BACKEND,
    POLICY,
    RESTART,
    Ending,
    WebSocketSession,
    WebSocketSettings,
)

__all__ = ["WebSocketEndpoints"]

_log = logging.getLogger("triopoll")

_V1, _POLL = "/v1/ws", "/poll/ws"
_DENIAL = "websocket.http.response"
# Seconds that a close frame may take.
_CLOSE_SECONDS = 2.0


class WebSocketEndpoints:
    """The two websocket endpoints of an application."""

    def __init__(
        self, services: Callable[[], Services], drain: Drain, metrics: Metrics
    ) -> None:
        """Serve with what exists once the app serves.

        Args:
            services: Returns it.
            drain: Closes the websockets when the server goes away.
            metrics: Where they are counted.
        """
        self._services = services
        self._drain = drain
        self._meter = metrics.waits["websocket"]
        self._open = 0

    def __repr__(self) -> str:
        return f"<WebSocketEndpoints: {self._open} open>"

    def serves(self, scope: Scope) -> bool:
        """Return whether an ASGI scope is one of these websockets."""
        return scope["type"] == "websocket" and scope["path"] in (_V1, _POLL)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one websocket.

        Cancellation:
            Its waits are withdrawn; closing is the server's part.
        """
        await receive()  # websocket.connect
        request = _request(scope)
        try:
            opened = self._admit(request)
        except Exception:  # noqa: BLE001  # one handshake fails, and it is in the log
            _log.exception("%s failed", request.path)
            opened = json_response(
                {"code": "internal", "message": "internal error"}, 500
            )
        if isinstance(opened, Response):
            await _deny(scope, send, opened)
            return
        self._open += 1
        self._meter.parked += 1
        try:
            ending = await self._serve(request, opened, receive, send)
        finally:
            self._open -= 1
            self._meter.parked -= 1
        self._meter.end(_REASONS.get(ending.code, "failed"))
        await _close(send, ending)

    def _admit(self, request: Request) -> Permit | Response:
        services = self._services()
        gate, settings = services.gate, services.settings
        if not settings.websockets:
            return _refuse(404, "websockets_off", "websockets are switched off")
        refused = gate.enter(request)
        if refused is not None:
            return refused
        if self._drain.released:
            return _refuse(503, "draining", "the server restarts")
        if self._open >= settings.max_waits:
            return _refuse(503, "limit", "the limit max_waits has been reached")
        keys: tuple[str, ...] = ()
        if request.path == _POLL:
            try:
                keys = (_poll_item(request, settings).key,)
            except (BadParameter, BadCursor) as error:
                return _refuse(400, "bad_request", str(error))
        return gate.subscriber(request, keys, refuse_v1)

    async def _serve(
        self, request: Request, admission: Permit, receive: Receive, send: Send
    ) -> Ending:
        services = self._services()
        limits = FrameLimits(max_key_bytes=services.settings.max_key_bytes)
        settings = WebSocketSettings(
            ping=services.settings.websocket_ping,
            pong=services.settings.websocket_ping / 2,
            limits=limits,
        )
        voice: Codec = V1Codec(limits)
        first: tuple[Frame, ...] = ()
        if request.path == _POLL:
            item = _poll_item(request, services.settings)
            voice, first = PollCodec(item.key), (Subscribe((item,)),)

        async def send_text(text: str) -> None:
            try:
                await send({"type": "websocket.send", "text": text})
            except RuntimeError as error:
                # What granian raises where ASGI has an OSError.
                raise ConnectionAbortedError(str(error)) from error

        async def next_frame() -> str | bytes | None:
            message = await receive()
            if message["type"] != "websocket.receive":
                return None
            text: str | None = message.get("text")
            return text if text is not None else message.get("bytes") or b""

        session = WebSocketSession(
            services.reader, voice, send_text, settings, admission.allows
        )
        ending = Ending(None)
        with admission.waiting():
            with self._drain.calling(
                lambda: session.end(RESTART, "the server restarts")
            ):
                try:
                    await send({"type": "websocket.accept"})
                    ending = await session.run(next_frame, *first)
                except OSError:
                    pass  # it has left before it was greeted
                except Exception:  # noqa: BLE001  # one websocket fails, in the log
                    _log.exception("%s failed", request.path)
                    ending = Ending(BACKEND, "internal error")
        if admission.ended is not None:
            return Ending(POLICY, json.loads(admission.ended.body)["code"])
        return ending


# Why websockets end, in the metrics.
_REASONS = {None: "disconnect", RESTART: "drained", POLICY: "policy"}


def _request(scope: Scope) -> Request:
    client = scope.get("client")
    return Request(
        "GET",
        scope["path"],
        scope["query_string"],
        scope["headers"],
        client[0] if client else None,
    )


def _poll_item(request: Request, settings: Settings) -> LogItem:
    key = parse_poll(request.query, settings).key
    cursors = set(parameter_values(request, b"cursor")) or {NEW}
    if len(cursors) > 1:
        raise BadParameter("cursor is given more than once")
    cursor = cursors.pop() or NEW
    if cursor not in (NEW, ALL):
        parse_cursor(cursor)
    return LogItem(key, cursor, 1)


def _refuse(status: int, code: str, message: str) -> Response:
    headers = ((b"retry-after", b"5"),) if status == 503 else ()
    return json_response({"code": code, "message": message}, status, headers)


async def _deny(scope: Scope, send: Send, answer: Response) -> None:
    """Answer a handshake with an HTTP status, where the server knows how to."""
    try:
        if _DENIAL not in (scope.get("extensions") or ()):
            await send({"type": "websocket.close", "code": POLICY})
            return
        length = (b"content-length", b"%d" % len(answer.body))
        start = {"status": answer.status, "headers": [*answer.headers, length]}
        await send({"type": f"{_DENIAL}.start", **start})
        await send({"type": f"{_DENIAL}.body", "body": answer.body})
    except OSError:
        pass  # it has left


async def _close(send: Send, ending: Ending) -> None:
    if ending.code is None:
        return
    # 123 bytes is what a close frame has room for.
    reason = ending.reason.encode()[:123].decode(errors="ignore")
    with trio.move_on_after(_CLOSE_SECONDS):
        try:
            await send(
                {"type": "websocket.close", "code": ending.code, "reason": reason}
            )
        except (OSError, RuntimeError):
            pass  # it has left; granian has another word for that
