"""The application: settings to services to routes, opened and closed by the server."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection
from typing import Any

import trio
from quart_trio import QuartTrio

from .access import Shape, refuse_v1
from .api.openapi_document import openapi_routes
from .api.openresty.endpoints import openresty_routes, refusing
from .api.poll.endpoints import poll_routes
from .api.status import UNLIMITED, status_routes
from .api.v1.endpoints import v1_routes
from .api.websocket.endpoint import WebSocketEndpoints
from .asgi.guest import GuestApp
from .asgi.http_adapter import serve_lean
from .asgi.messages import Request, Response, Routes, json_response
from .delivery import DeliveringConnection
from .ops.drain import Drain
from .ops.metrics import Metrics
from .ops.signals import drain_on_signals
from .quart_door import quart_door
from .services import Services, open_services
from .settings import Settings, settings_from

__all__ = ["Triopoll", "app"]

_log = logging.getLogger("triopoll")

BODY_SECONDS = 5.0


class Triopoll(QuartTrio):
    """The long-poll service.

    Attributes:
        drain: A server that is asked to stop ends the parked polls with it.
        metrics: What is counted in this process.
        table: The endpoints.
    """

    asgi_http_class = DeliveringConnection

    def __init__(self, settings: Settings | None = None, *, lean: bool = True) -> None:
        """Make the application; nothing is opened before it is served.

        Args:
            settings: Default: read from the environment when it is served.
            lean: Whether endpoints are answered straight from ASGI. Otherwise they go
                through Quart, with its hooks and at its cost.
        """
        super().__init__("triopoll", static_folder=None)
        # Quart's limits: on sending an answer (not on waiting for it), and on the time
        # a request body may take. That on its size is a setting.
        self.config["RESPONSE_TIMEOUT"] = 15
        self.config["BODY_TIMEOUT"] = BODY_SECONDS
        self.drain = Drain()
        self.metrics = Metrics()
        self._settings = settings
        self._max_body_bytes = Settings().max_body_bytes
        self._services: Services | None = None
        self._stop = trio.Event()
        self._stopped = trio.Event()
        recipe = poll_routes(self.services)
        self.table: Routes = {
            **recipe,
            **openresty_routes(self.services, recipe),
            **v1_routes(self.services),
            **status_routes(self.services, self.metrics),
            **openapi_routes(),
        }
        self._websockets = WebSocketEndpoints(self.services, self.drain, self.metrics)
        self._lean: Routes = self.table if lean else {}
        self.register_blueprint(quart_door(tuple(self.table), self._answer, self._sent))

    def services(self) -> Services:
        """Return what the endpoints work with.

        Raises:
            RuntimeError: The application has not been started by its server.
        """
        if self._services is None:
            raise RuntimeError("the server has not sent the ASGI lifespan startup")
        return self._services

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve what an ASGI server asks for.

        Cancellation:
            A request ends with whatever it waits for withdrawn; the lifespan ends with
            the services closed.
        """
        if scope["type"] == "http" and scope["path"] in self._lean:
            await serve_lean(
                scope,
                receive,
                send,
                self._answer,
                sent=self._sent,
                max_body_bytes=self._max_body_bytes,
                body_seconds=BODY_SECONDS,
            )
        elif self._websockets.serves(scope):
            await self._websockets(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        """Let a request in and call its endpoint; answer for one that fails."""
        try:
            gate = self.services().gate
            # Behind a load balancer, clients and probes may have one address.
            if request.path in UNLIMITED:
                refused = None
            else:
                refused = gate.enter(request, _refusing(request))
            answer = gate.leave(request, refused or await self._call(request))
        except Exception:  # noqa: BLE001  # one request fails, and it is in the log
            _log.exception("%s %s failed", request.method, request.path)
            shape = {"code": "internal", "message": "internal error"}
            answer = json_response(shape, 500)
        self.metrics.answered(request.path, answer.status)
        return answer

    async def _call(self, request: Request) -> Response:
        methods = self.table[request.path]
        endpoint = methods.get(request.method)
        if endpoint is None:
            return _method_answer(request.method, methods)
        return await endpoint(request)

    def _sent(self, answer: Response) -> None:
        """Note that an answer is with the connection."""
        self.metrics.sent(answer.woken)

    async def startup(self) -> None:
        """Open the services, then do what Quart does.

        Raises:
            SettingsError: A TRIOPOLL_ variable cannot be used.
            StartupError: The services cannot be opened like this.

        Cancellation:
            What had been opened is closed.
        """
        settings = self._settings or settings_from(os.environ)
        self._max_body_bytes = settings.max_body_bytes
        self.config["MAX_CONTENT_LENGTH"] = settings.max_body_bytes
        await self.nursery.start(self._serve, settings)
        await super().startup()

    async def shutdown(self) -> None:
        """Do what Quart does, then close the services.

        Cancellation:
            The services are closed, with less patience.
        """
        await super().shutdown()
        self._stop.set()
        await self._stopped.wait()

    async def _serve(
        self, settings: Settings, *, task_status: trio.TaskStatus[None]
    ) -> None:
        """Keep the services open from startup to shutdown, in one task of their own.

        A `with` block cannot span the two: they are calls.
        """
        try:
            async with (
                open_services(settings, self.drain, self.metrics) as self._services,
                drain_on_signals(self.drain, settings.drain_window),
            ):
                task_status.started()
                await self._stop.wait()
        finally:
            self._stopped.set()


def _method_answer(method: str, served: Collection[str]) -> Response:
    shape = {"code": "method", "message": f"{method} is not served here"}
    return json_response(shape, 405, ((b"allow", ", ".join(served).encode()),))


def _refusing(request: Request) -> Shape:
    return refusing(request) if request.path.startswith("/poll/") else refuse_v1


app = GuestApp(Triopoll())
