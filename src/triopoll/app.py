"""The application: settings to services to routes, opened and closed by the server."""

from __future__ import annotations

import logging
import os

import trio
from quart import Response as QuartResponse
from quart import has_request_context
from quart import request as quart_request
from quart_trio import QuartTrio
from werkzeug.exceptions import MethodNotAllowed, NotFound

from .api.admin.endpoints import admin_routes
from .api.javascript import javascript_routes
from .api.openapi_document import openapi_routes
from .api.openresty.endpoints import openresty_routes
from .api.pipeline import BODY_SECONDS, Pipeline
from .api.poll.endpoints import poll_routes
from .api.status import UNLIMITED, status_routes
from .api.stream.endpoints import STREAM_HEADERS, stream_routes
from .api.v1.endpoints import v1_routes
from .api.v1.presence import presence_routes
from .api.v1.state_endpoints import state_routes
from .api.websocket.endpoint import WEBSOCKET_PATHS, WebSocketEndpoints
from .asgi.guest import GuestApp, run_lifespan
from .asgi.http_adapter import send_response
from .asgi.json import to_json
from .asgi.messages import json_response
from .asgi.types import Receive, Scope, Send
from .core.slock_backend import StartupError
from .ops.drain import Drain
from .ops.metrics import Metrics
from .ops.signals import drain_on_signals
from .pages import pages_blueprint
from .services import Services, open_services
from .settings import Settings, settings_from

__all__ = ["Triopoll", "app"]

_log = logging.getLogger("triopoll")

_ENDED = (
    "this application has been shut down, and its waits with it: make a new Triopoll()"
)
_NOT_STARTED = "the server has not sent the ASGI lifespan startup"


class Triopoll(QuartTrio):
    """The long-poll service: a Quart-Trio application with endpoints of its own.

    Routes and blueprints that are added to it are served beside the endpoints, behind
    the same pipeline (`triopoll.api.pipeline`). An ASGI server on trio or on asyncio
    runs it, and so does another application that it is mounted in.

    Attributes:
        drain: A server that is asked to stop ends the parked polls with it.
        metrics: What is counted in this process.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        """Make the application; nothing is opened before it is served.

        Args:
            settings: Default: read from the environment when it is served.
        """
        super().__init__("triopoll", static_folder=None)
        # Quart's limit on sending a response, and on waiting for a body that the
        # pipeline has read already.
        self.config["RESPONSE_TIMEOUT"] = 15
        self.config["BODY_TIMEOUT"] = BODY_SECONDS
        self.drain = Drain()
        self.metrics = Metrics()
        self._settings = settings
        self._services: Services | None = None
        self._pipeline: Pipeline | None = None
        self._websockets: WebSocketEndpoints | None = None
        self._stop = trio.Event()
        self._stopped = trio.Event()
        self._guest = GuestApp(self)
        self.register_error_handler(NotFound, _explain_unknown)
        self.register_error_handler(MethodNotAllowed, _explain_unknown)

    def read_settings(self) -> Settings:
        """Return the settings that the application is served with.

        Raises:
            SettingsError: A TRIOPOLL_ variable cannot be used.
        """
        return self._settings or settings_from(os.environ)

    def services(self) -> Services:
        """Return what the endpoints work with.

        Raises:
            RuntimeError: The application has not been started by its server.
        """
        if self._services is None:
            raise RuntimeError(_NOT_STARTED)
        return self._services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # type: ignore[override]  # as loose as ASGI
        """Serve what an ASGI server asks for.

        Cancellation:
            A request ends with whatever it waits for withdrawn; the lifespan ends with
            the services closed.
        """
        if not trio.lowlevel.in_trio_task():
            await self._guest(scope, receive, send)
        elif scope["type"] == "lifespan":
            await run_lifespan(super().__call__, scope, receive, send)  # type: ignore[arg-type]
        elif self._pipeline is None:
            await self._refuse_unstarted(scope, send)
        elif scope["type"] == "http":
            await self._pipeline.serve(scope, receive, send)
        else:
            assert self._websockets is not None
            await self._websockets.serve(scope, receive, send)

    async def _refuse_unstarted(self, scope: Scope, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError(_NOT_STARTED)
        _log.error("%s %s failed: %s", scope["method"], scope["path"], _NOT_STARTED)
        shape = {"code": "internal", "message": "internal error"}
        await send_response(scope, send, json_response(shape, 500), self.metrics.sent)

    async def startup(self) -> None:
        """Open the services, then do what Quart does.

        Raises:
            SettingsError: A TRIOPOLL_ variable cannot be used.
            StartupError: The services cannot be opened like this.

        Cancellation:
            What had been opened is closed.
        """
        if self._stop.is_set():
            raise StartupError(_ENDED)
        settings = self.read_settings()
        self.config["MAX_CONTENT_LENGTH"] = settings.max_body_bytes
        # Behind all routes that were added to the application: those win.
        self.register_blueprint(pages_blueprint(self.services))
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
                open_services(settings, self.drain, self.metrics) as services,
                drain_on_signals(self.drain, settings.drain_window),
            ):
                self._services = services
                self._pipeline = self._build_pipeline(services)
                self._websockets = WebSocketEndpoints(services, self._pipeline)
                task_status.started()
                await self._stop.wait()
        finally:
            self._services = self._pipeline = self._websockets = None
            self._stopped.set()

    def _build_pipeline(self, services: Services) -> Pipeline:
        openresty, module = openresty_routes(services), javascript_routes()
        return Pipeline(
            routes={
                **openresty,
                **poll_routes(services, openresty),
                **v1_routes(services),
                **presence_routes(services),
                **state_routes(services),
                **stream_routes(services),
                **status_routes(services, self.metrics),
                **admin_routes(services),
                **openapi_routes(),
                **module,
            },
            websockets=WEBSOCKET_PATHS,
            unlimited=UNLIMITED,
            public=module,
            route_headers=STREAM_HEADERS,
            access=services.access,
            metrics=self.metrics,
            fallback=self.asgi_app,  # type: ignore[arg-type]  # as loose as ASGI
            max_body_bytes=services.settings.max_body_bytes,
        )


async def _explain_unknown(
    error: NotFound | MethodNotAllowed,
) -> QuartResponse | NotFound | MethodNotAllowed:
    """Answer in the format of `/v1` where no route has the path or the method.

    A route that raises the error itself decides how it is shown.
    """
    # A websocket has no request, and its handshake is denied without a body.
    if not has_request_context() or quart_request.url_rule is not None:
        return error
    code = "not_found" if isinstance(error, NotFound) else "method"
    what = quart_request.path if code == "not_found" else quart_request.method
    shape = {"code": code, "message": f"{what[:200]} is not served here"}
    headers = dict(error.get_headers())
    headers["content-type"] = "application/json"
    return QuartResponse(to_json(shape), status=error.code, headers=headers)


app = Triopoll()
