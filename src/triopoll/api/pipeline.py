"""The one way in: the steps that every request passes, whatever its path.

1. access check and rate limits;
2. the body, limited in size and time;
3. the endpoint, or the application behind it where no endpoint has the path;
4. finish: count the response, add the headers for other origins and for security.

Nothing is answered outside these steps, so a refused body, an unknown path and an error
are limited, counted and readable for a page as any other response is. A websocket
handshake passes steps 1 and 4.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass

import trio

from ..access import AccessControl, RefusalFormat
from ..asgi.http_adapter import BodyRefused, read_body, send_response, serve_endpoint
from ..asgi.messages import (
    Headers,
    Request,
    Response,
    Routes,
    json_response,
    request_of,
)
from ..asgi.types import ASGIApp, Message, Receive, Scope, Send
from ..ops.metrics import Metrics
from .refusals import format_v1, refusal_format

__all__ = ["BODY_SECONDS", "OTHER", "Pipeline"]

_log = logging.getLogger("triopoll")

BODY_SECONDS = 5.0
# The path in metrics of all that no endpoint serves: a label needs a bounded number of
# values, and a client may ask for any path.
OTHER = "other"
# A response is what its content type says, and no browser may guess otherwise.
_SECURITY: Headers = ((b"x-content-type-options", b"nosniff"),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """Serve the requests of one application.

    Attributes:
        routes: The endpoints.
        websockets: Paths of the websocket endpoints.
        unlimited: Paths without access check and rate limits: behind a load balancer
            all probes and clients may have one address.
        access: Checks requests.
        metrics: Where responses are counted.
        fallback: An ASGI application for all paths without an endpoint.
        max_body_bytes: A longer body is refused with 413.
    """

    routes: Routes
    websockets: Collection[str]
    unlimited: Collection[str]
    access: AccessControl
    metrics: Metrics
    fallback: ASGIApp
    max_body_bytes: int

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one HTTP request.

        Cancellation:
            The endpoint is cancelled; a message that its response carries is nacked.
        """
        request = request_of(scope)
        response = self.check(request)
        if response is None:
            try:
                request.body = await read_body(
                    scope, receive, self.max_body_bytes, BODY_SECONDS
                )
            except BodyRefused as refused:
                if refused.response is None:
                    return  # the client has disconnected
                response = refused.response
        if response is not None:
            self.finish(request, response)
            await send_response(scope, send, response, self._sent)
        elif request.path in self.routes:
            await serve_endpoint(
                scope, receive, send, self._respond, request, self._sent
            )
        else:
            await self._fall_back(request, scope, receive, send)

    def check(
        self, request: Request, format_refusal: RefusalFormat | None = None
    ) -> Response | None:
        """Take step 1; return the response if the request goes no further.

        Args:
            request: Its body need not be read.
            format_refusal: How a refusal is written; default: as the API of the path
                does.
        """
        if request.path in self.unlimited:
            return None
        refusal = self.access.check(request)
        if refusal is not None:
            return (format_refusal or refusal_format(request))(refusal)
        if request.method == "OPTIONS":
            return self.access.rules.cors.preflight(request)
        return None

    def finish(self, request: Request, response: Response) -> None:
        """Take step 4 for a response of ours."""
        known = request.path in self.routes or request.path in self.websockets
        path = request.path if known else OTHER
        headers = self.finishing_headers(request, path, response.status)
        response.headers = (*response.headers, *headers)

    def finishing_headers(self, request: Request, path: str, status: int) -> Headers:
        """Count a response; return the headers to add to it."""
        self.metrics.answers[path, status] += 1
        cors = self.access.rules.cors
        return (*_SECURITY, *cors.headers(request)) if cors.origins else _SECURITY

    def _sent(self, response: Response) -> None:
        if response.woken is not None:
            self.metrics.sent(response.woken)

    async def _respond(self, request: Request) -> Response:
        """Take steps 3 and 4 for a path that has an endpoint."""
        methods = self.routes[request.path]
        endpoint = methods.get(request.method)
        try:
            if endpoint is None:
                response = _method_not_allowed(request.method, methods)
            else:
                response = await endpoint(request)
        except Exception:  # noqa: BLE001  # one request fails; the log has the traceback
            response = _internal_error(request)
        self.finish(request, response)
        return response

    async def _fall_back(
        self, request: Request, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Take steps 3 and 4 for a path that has no endpoint."""
        exchange = _FallbackExchange(self, request, receive, send)
        try:
            await self.fallback(scope, exchange.receive, exchange.send)
        except Exception:  # noqa: BLE001  # as in `_respond`
            response = _internal_error(request)
            if not exchange.started:
                self.finish(request, response)
                await send_response(scope, send, response, self._sent)

    async def serve_other_websocket(
        self, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Serve a websocket whose path has no endpoint.

        Cancellation:
            As that of the application behind.
        """
        request = request_of(scope)
        refusal = self.access.check(request)
        if refusal is None:
            await self.fallback(scope, receive, send)
            return
        await receive()  # websocket.connect
        await self.deny(request, scope, send, format_v1(refusal))

    async def deny(
        self, request: Request, scope: Scope, send: Send, response: Response
    ) -> None:
        """Answer a websocket handshake with a response instead.

        Cancellation:
            The handshake may not have been answered.
        """
        self.finish(request, response)
        try:
            if _DENIAL not in (scope.get("extensions") or ()):
                # The server can only refuse with a status of its own.
                await send({"type": "websocket.close", "code": _POLICY})
                return
            length = (b"content-length", b"%d" % len(response.body))
            headers = [*response.headers, length]
            start = {"status": response.status, "headers": headers}
            await send({"type": f"{_DENIAL}.start", **start})
            await send({"type": f"{_DENIAL}.body", "body": response.body})
        except OSError:
            pass  # the client has disconnected


_DENIAL = "websocket.http.response"
_POLICY = 1008  # RFC 6455, section 7.4.1


class _FallbackExchange:
    """One request of the application behind: its `receive` and `send`."""

    def __init__(
        self, pipeline: Pipeline, request: Request, receive: Receive, send: Send
    ) -> None:
        self._pipeline = pipeline
        self._request = request
        self._receive = receive
        self._send = send
        self._body_given = False
        self._complete = False
        self.started = False

    async def receive(self) -> Message:
        """Return the body, which has been read, then the disconnect."""
        if not self._body_given:
            self._body_given = True
            body = self._request.body
            return {"type": "http.request", "body": body, "more_body": False}
        while True:
            message = await self._receive()
            if message["type"] != "http.disconnect":
                continue
            if self._complete:
                # Hypercorn reports a disconnect from inside the `send()` of the last
                # piece, where the connection is then closed or made ready for the
                # next request. Quart-Trio cancels that `send()` at a disconnect.
                await trio.sleep_forever()
            return message

    async def send(self, message: Message) -> None:
        """Send a piece of the response, with the finishing headers on its head."""
        if message["type"] == "http.response.start":
            self.started = True
            message = {**message, "headers": self._headers(message)}
        elif message["type"] == "http.response.body":
            self._complete = not message.get("more_body", False)
        await self._send(message)

    def _headers(self, message: Message) -> list[tuple[bytes, bytes]]:
        given = [(bytes(name), bytes(value)) for name, value in message["headers"]]
        names = {name.lower() for name, _ in given} - {b"vary"}
        added = self._pipeline.finishing_headers(
            self._request, OTHER, message["status"]
        )
        # What a route has decided for itself, such as its own CORS headers, stays.
        return [*given, *(each for each in added if each[0] not in names)]


def _method_not_allowed(method: str, served: Collection[str]) -> Response:
    shape = {"code": "method", "message": f"{method} is not served here"}
    return json_response(shape, 405, ((b"allow", ", ".join(served).encode()),))


def _internal_error(request: Request) -> Response:
    """Log the exception that is being handled; return what the client gets."""
    _log.exception("%s %s failed", request.method, request.path)
    return json_response({"code": "internal", "message": "internal error"}, 500)
