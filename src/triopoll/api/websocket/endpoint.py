"""The two websocket endpoints on ASGI: the handshake, the frames, the close.

Quart's websocket layer is not used: it puts two tasks and a queue between a client and
its session, and hides which send failed. The session decides what is sent and when the
websocket ends (see `session`).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from functools import partial

import trio

from ...access import Permit
from ...asgi.messages import Request, Response, json_response, request_of
from ...asgi.query import BadQuery
from ...asgi.types import Receive, Scope, Send
from ...core.wait_items import LogItem
from ...services import Services
from ...settings import Settings
from ...store import ALL, NEW, BadCursor, parse_cursor
from ..pipeline import Pipeline
from ..poll.query import parse_poll, read_parameters
from ..refusals import format_v1
from .codecs import Codec, PollCodec, V1Codec
from .frames import Frame, FrameLimits, Subscribe
from .session import (
    BACKEND,
    POLICY,
    RESTART,
    Closing,
    WebSocketSession,
    WebSocketSettings,
)

__all__ = ["WEBSOCKET_PATHS", "WebSocketEndpoints"]

_log = logging.getLogger("triopoll")

_V1, _POLL = "/v1/ws", "/poll/ws"
WEBSOCKET_PATHS = (_V1, _POLL)
# Seconds that a close frame may take.
_CLOSE_SECONDS = 2.0


class WebSocketEndpoints:
    """The websocket endpoints of an application."""

    def __init__(self, services: Services, pipeline: Pipeline) -> None:
        """Serve with these services; other paths and denials go to the pipeline."""
        self._services = services
        self._pipeline = pipeline
        self._meter = pipeline.metrics.waits["websocket"]
        self._open = 0

    def __repr__(self) -> str:
        return f"<WebSocketEndpoints: {self._open} open>"

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one websocket.

        Cancellation:
            Its waits are withdrawn; the server closes the connection.
        """
        request = request_of(scope)
        if request.path not in WEBSOCKET_PATHS:
            await self._pipeline.serve_other_websocket(request, scope, receive, send)
            return
        await receive()  # websocket.connect
        try:
            refused = self._pipeline.check(request, format_v1)
            permit = refused or self._admit(request)
        except Exception:  # noqa: BLE001  # one handshake fails, and it is in the log
            _log.exception("%s failed", request.path)
            permit = json_response(
                {"code": "internal", "message": "internal error"}, 500
            )
        if isinstance(permit, Response):
            await self._pipeline.deny(request, scope, send, permit)
            return
        self._open += 1
        self._meter.parked += 1
        try:
            closing = await self._serve(request, permit, receive, send)
        finally:
            self._open -= 1
            self._meter.parked -= 1
        self._meter.end(_REASONS.get(closing.code, "failed"))
        await _close(send, closing)

    def _admit(self, request: Request) -> Permit | Response:
        settings = self._services.settings
        if not settings.websockets:
            return _refuse(404, "websockets_off", "websockets are switched off")
        if self._services.drain.released:
            return _refuse(503, "draining", "the server restarts")
        if self._open >= settings.max_waits:
            return _refuse(503, "limit", "the limit max_waits has been reached")
        keys: tuple[str, ...] = ()
        if request.path == _POLL:
            try:
                keys = (_poll_item(request, settings).key,)
            except (BadQuery, BadCursor) as error:
                return _refuse(400, "bad_request", str(error))
        return self._services.access.admit_subscriber(request, keys, format_v1)

    async def _serve(
        self, request: Request, permit: Permit, receive: Receive, send: Send
    ) -> Closing:
        session, first = self._open_session(request, permit, send)
        closing = Closing(None)
        with permit:
            with self._services.drain.calling(
                lambda: session.end(RESTART, "the server restarts")
            ):
                try:
                    await send({"type": "websocket.accept"})
                    closing = await session.run(partial(_next_frame, receive), *first)
                except OSError:
                    pass  # the client left before the first frame
                except Exception:  # noqa: BLE001  # one websocket fails, in the log
                    _log.exception("%s failed", request.path)
                    closing = Closing(BACKEND, "internal error")
        if permit.ended is not None:
            return Closing(POLICY, json.loads(permit.ended.body)["code"])
        return closing

    def _open_session(
        self, request: Request, permit: Permit, send: Send
    ) -> tuple[WebSocketSession, Sequence[Frame]]:
        """Return a session, and the frames that the URL of the websocket stands for."""
        settings = self._services.settings
        limits = FrameLimits(max_key_bytes=settings.max_key_bytes)
        codec: Codec = V1Codec(limits)
        first: Sequence[Frame] = ()
        if request.path == _POLL:
            item = _poll_item(request, settings)
            codec, first = PollCodec(item.key), [Subscribe((item,))]
        session = WebSocketSession(
            self._services.reader,
            codec,
            partial(_send_text, send),
            WebSocketSettings(
                ping=settings.websocket_ping,
                pong=settings.websocket_ping / 2,
                limits=limits,
            ),
            permit.allows,
            permit.visitor.bucket,
            permit.follow,
        )
        return session, first


async def _send_text(send: Send, text: str) -> None:
    try:
        await send({"type": "websocket.send", "text": text})
    except RuntimeError as error:
        # Granian raises it where the ASGI specification has an OSError.
        raise ConnectionAbortedError(str(error)) from error


async def _next_frame(receive: Receive) -> str | bytes | None:
    message = await receive()
    if message["type"] != "websocket.receive":
        return None
    text: str | None = message.get("text")
    return text if text is not None else message.get("bytes") or b""


# Why websockets end, in the metrics.
_REASONS = {None: "disconnect", RESTART: "drained", POLICY: "policy"}


def _poll_item(request: Request, settings: Settings) -> LogItem:
    key = parse_poll(request.parameters, settings).key
    cursor = read_parameters(request.parameters, ("cursor",)).get("cursor") or NEW
    if cursor not in (NEW, ALL):
        parse_cursor(cursor)
    return LogItem(key, cursor, 1)


def _refuse(status: int, code: str, message: str) -> Response:
    headers = ((b"retry-after", b"5"),) if status == 503 else ()
    return json_response({"code": code, "message": message}, status, headers)


async def _close(send: Send, closing: Closing) -> None:
    if closing.code is None:
        return
    # 123 bytes is what a close frame has room for.
    reason = closing.reason.encode()[:123].decode(errors="ignore")
    with trio.move_on_after(_CLOSE_SECONDS):
        try:
            await send(
                {"type": "websocket.close", "code": closing.code, "reason": reason}
            )
        except (OSError, RuntimeError):
            pass  # the client has left; granian raises a RuntimeError for that
