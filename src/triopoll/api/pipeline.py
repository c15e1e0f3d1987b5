"""The one way in: the steps that every request passes, whatever its path.

1. rate limits, and for endpoints which hosts and pages may send the request;
2. the body, limited in size and time;
3. the endpoint, or the application behind it where no endpoint has the path;
4. finish: count the response, add the headers for other origins and for security.

Nothing is answered outside these steps, so a refused body, an unknown path and an error
are limited, counted and readable for a page as any other response is. A websocket
handshake passes steps 1 and 4.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import trio

from ..access import AccessControl, RefusalFormat
from ..asgi.http_adapter import (
    BodyRefused,
    read_body,
    send_response,
    serve_unless_disconnected,
)
from ..asgi.messages import (
    CANCELS,
    PARKING,
    Answer,
    Headers,
    Parking,
    Request,
    Response,
    Routes,
    StreamingResponse,
    json_response,
    request_of,
)
from ..asgi.routing import RouteTable
from ..asgi.streaming import PieceWriter, StreamBroken
from ..asgi.types import ASGIApp, Receive, Scope, Send
from ..ops.metrics import Metrics
from ..pending import Pending, wait_in_task
from .fallback import FallbackExchange
from .finishing import SECURITY, add_headers, internal_error
from .parked_response import ParkedResponse
from .refusals import format_v1, refusal_format

__all__ = ["BODY_SECONDS", "OTHER", "Pipeline"]

_log = logging.getLogger("triopoll")

BODY_SECONDS = 5.0
# The path in metrics of all that no endpoint serves: a label needs a bounded number of
# values, and a client may ask for any path.
OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """Serve the requests of one application.

    Attributes:
        routes: The endpoints, by path or by template.
        websockets: Paths of the websocket endpoints.
        unlimited: Paths without access check and rate limits: behind a load balancer
            all probes and clients may have one address.
        public: Routes that pages of all origins may load: there is nothing of a visitor
            in them.
        route_headers: What every response of a route has besides, refusals included.
        access: Checks requests.
        metrics: Where responses are counted.
        fallback: An ASGI application for all paths without an endpoint.
        max_body_bytes: A longer body is refused with 413.
    """

    routes: Routes
    websockets: Collection[str]
    unlimited: Collection[str]
    public: Collection[str]
    route_headers: Mapping[str, Headers] = field(default_factory=dict[str, Headers])
    access: AccessControl
    metrics: Metrics
    fallback: ASGIApp
    max_body_bytes: int
    _table: RouteTable = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_table", RouteTable(self.routes))

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one HTTP request.

        Cancellation:
            The endpoint is cancelled; a message that its response carries is nacked.
        """
        request = request_of(scope)
        path = request.path
        request.route = path if path in self.routes else self._table.resolve(request)
        response = self.check(request)
        extensions: dict[str, Any] = scope.get("extensions") or {}
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
            await send_response(scope, send, response, self.metrics.sent)
        elif request.route is None:
            await self._fall_back(request, scope, receive, send)
        elif CANCELS in extensions:
            answer = await self._call(request)
            if isinstance(answer, StreamingResponse):
                # Such a server has a limit of its own for a client that does not read.
                await self._stream(request, scope, answer, send)
                return
            if not isinstance(answer, Response):
                parking: Parking | None = extensions.get(PARKING)
                if parking is not None and parking.sender is send:
                    headers = self._own_headers(request)
                    parking.parked = ParkedResponse(
                        answer, parking, self.metrics, request.route, headers
                    )
                    return
                answer = await self._wait(request, answer)
            self.finish(request, answer)
            await send_response(scope, send, answer, self.metrics.sent)
        else:
            await serve_unless_disconnected(
                *(scope, receive, send, self._respond, request, self.metrics.sent),
                partial(self._stream, request, scope),
            )

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
        if request.route is None and request.path not in self.websockets:
            # The application behind has pages and rules of its own, and an error of its
            # own for a host that has no name.
            return None if _has_host_name(request) else _bad_host()
        if request.method == "OPTIONS":
            methods = self.routes.get(request.route or "", ("GET",))
            preflight = self.access.rules.cors.preflight(
                request, ", ".join(methods).encode()
            )
            if preflight is not None:
                return preflight
        if request.route in self.public:
            return None
        refusal = self.access.check_source(request)
        if refusal is not None:
            return (format_refusal or refusal_format(request))(refusal)
        return None

    def finish(self, request: Request, response: Response | StreamingResponse) -> None:
        """Take step 4 for a response that the pipeline sends."""
        path = request.path if request.path in self.websockets else request.route
        headers = self.finishing_headers(request, path or OTHER, response.status)
        response.headers = add_headers(response.headers, headers)

    def finishing_headers(self, request: Request, path: str, status: int) -> Headers:
        """Count a response; return the headers to add to it."""
        self.metrics.answers[path, status] += 1
        return self._own_headers(request)

    def _own_headers(self, request: Request) -> Headers:
        """Return what is added to each response to a request."""
        more = self.route_headers.get(request.route or "", ())
        cors = self.access.rules.cors
        own = cors.headers(request) if cors.origins else ()
        return (*SECURITY, *more, *own)

    async def _respond(self, request: Request) -> Response | StreamingResponse:
        """Take steps 3 and 4 for a path that has an endpoint.

        A streaming response is finished when its head is sent.
        """
        answer = await self._call(request)
        if isinstance(answer, StreamingResponse):
            return answer
        if not isinstance(answer, Response):
            answer = await self._wait(request, answer)
        self.finish(request, answer)
        return answer

    async def _call(self, request: Request) -> Answer:
        """Take step 3 for a path that has an endpoint."""
        assert request.route is not None
        methods = self.routes[request.route]
        endpoint = methods.get(request.method)
        try:
            if endpoint is None:
                return _method_not_allowed(request.method, methods)
            return await endpoint(request)
        except Exception:  # noqa: BLE001  # one request fails; the log has the traceback
            return internal_error(request.method, request.path)

    async def _wait(self, request: Request, pending: Pending[Response]) -> Response:
        """Wait for a response where the server cannot park the request."""
        try:
            return await wait_in_task(pending)
        except Exception:  # noqa: BLE001  # as in `_call`
            return internal_error(request.method, request.path)

    async def _stream(
        self,
        request: Request,
        scope: Scope,
        response: StreamingResponse,
        send: Send,
        seconds: float = math.inf,
    ) -> None:
        """Send a streaming response, or the whole one that comes instead of it.

        Raises:
            Exception: The body failed behind its beginning: what the server gets breaks
                the connection.
        """
        finish = partial(self.finish, request, response)
        writer = PieceWriter(send, response, finish, self.metrics.sent, seconds)
        instead: Response | None = None
        try:
            if request.method != "HEAD":
                instead = await response.write(writer)
            if instead is None:
                await writer.end()
                return
        except StreamBroken:
            # Nothing to log: the client has left or is slow. A server closes the
            # connection behind a response that has not been ended.
            return
        except Exception:
            if writer.started:
                raise
            instead = internal_error(request.method, request.path)
        if writer.started:
            raise RuntimeError("a whole response comes behind the start of another")
        self.finish(request, instead)
        with trio.move_on_after(seconds):
            await send_response(scope, send, instead, self.metrics.sent)

    async def _fall_back(
        self, request: Request, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Take steps 3 and 4 for a path that has no endpoint."""
        exchange = self._exchange(request, receive, send)
        try:
            await self.fallback(
                _normalised(scope, request), exchange.receive_http, exchange.send
            )
        except Exception:
            # The server knows best what to do about half a response.
            if exchange.started or exchange.broken:
                raise
            response = internal_error(request.method, request.path)
            self.finish(request, response)
            await send_response(scope, send, response, self.metrics.sent)

    async def serve_other_websocket(
        self, request: Request, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Serve a websocket whose path has no endpoint.

        Cancellation:
            As that of the application behind.
        """
        refused = self.check(request, format_v1)
        if refused is None:
            exchange = self._exchange(request, receive, send)
            await self.fallback(_normalised(scope, request), receive, exchange.send)
            return
        await receive()  # websocket.connect
        await self.deny(request, scope, send, refused)

    def _exchange(
        self, request: Request, receive: Receive, send: Send
    ) -> FallbackExchange:
        finish = partial(self.finishing_headers, request, OTHER)
        cors = self.access.rules.cors
        return FallbackExchange(request, receive, send, finish, cors)

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


def _has_host_name(request: Request) -> bool:
    """Return whether each Host header is the name of a host, or none is there."""
    hosts = [value for name, value in request.headers if name == b"host"]
    try:
        for host in hosts:
            host.decode("latin-1").partition(":")[0].encode("idna")
    except UnicodeError:
        return False
    return True


def _bad_host() -> Response:
    message = "the Host header is not the name of a host"
    return json_response({"code": "bad_request", "message": message}, 400)


def _normalised(scope: Scope, request: Request) -> Scope:
    """Return a scope whose path includes its root path, as ASGI defines it."""
    root = scope.get("root_path", "").rstrip("/")
    return {**scope, "root_path": root, "path": root + request.path}


def _method_not_allowed(method: str, served: Collection[str]) -> Response:
    shape = {"code": "method", "message": f"{method} is not served here"}
    return json_response(shape, 405, ((b"allow", ", ".join(served).encode()),))
