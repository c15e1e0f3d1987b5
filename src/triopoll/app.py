"""The application: settings to services to routes, opened and closed by the server."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import trio
from quart_trio import QuartTrio
from quart_trio.asgi import TrioASGILifespan

from ._drain import Drain
from .delivery import DeliveringConnection
from .poll_routes import poll_routes
from .polling import Poller
from .settings import PREFIX, Settings, settings_from
from .slock import SlockWatch, StartupError, open_slock
from .store import MemoryTaken, MessageStore, claimed_memory, open_store
from .waits import Waits

if TYPE_CHECKING:
    from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable

__all__ = ["Triopoll", "app"]

_WRONG_WORKER = (
    "triopoll runs on trio, and this server does not: type "
    "`hypercorn -k trio triopoll:app` or `triopoll serve`"
)

_MEMORY_TAKEN = (
    "messages in memory serve one process only, and another worker keeps some. Run "
    f"one worker; or set {PREFIX}REDIS_URL=redis://HOST:PORT for all of them"
)


class Lifespan(TrioASGILifespan):
    """The lifespan, which a server that does not run on trio fails to start."""

    async def __call__(
        self, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        """Start, wait for the end, and shut down.

        Cancellation:
            The services are closed.
        """
        if trio.lowlevel.in_trio_run():
            await super().__call__(receive, send)
        else:
            await receive()
            await send({"type": "lifespan.startup.failed", "message": _WRONG_WORKER})


class Triopoll(QuartTrio):
    """The long-poll service.

    Attributes:
        drain: A server that is asked to stop ends the parked polls with it.
    """

    asgi_http_class = DeliveringConnection
    asgi_lifespan_class = Lifespan

    def __init__(self, settings: Settings | None = None) -> None:
        """Make the application; nothing is opened before it is served.

        Args:
            settings: Default: read from the environment when it is served.
        """
        super().__init__("triopoll", static_folder=None)
        # Quart's limits: on sending an answer (not on waiting for it), on the time a
        # request body may take, and on its size. No endpoint has a body yet.
        self.config["RESPONSE_TIMEOUT"] = 15
        self.config["BODY_TIMEOUT"] = 5
        self.config["MAX_CONTENT_LENGTH"] = 2**20
        self.drain = Drain()
        self._settings = settings
        self._poller: Poller | None = None
        self._stop = trio.Event()
        self._stopped = trio.Event()
        self.register_blueprint(poll_routes(self.poller))

    def poller(self) -> Poller:
        """Return the poller.

        Raises:
            RuntimeError: The application has not been started by its server.
        """
        if self._poller is None:
            raise RuntimeError("the server has not sent the ASGI lifespan startup")
        return self._poller

    async def startup(self) -> None:
        """Open the services, then do what Quart does.

        Raises:
            SettingsError: A TRIOPOLL_ variable cannot be used.
            StartupError: The services cannot be opened like this.

        Cancellation:
            What had been opened is closed.
        """
        settings = self._settings or settings_from(os.environ)
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
            async with open_services(settings, self.drain) as self._poller:
                task_status.started()
                await self._stop.wait()
        finally:
            self._stopped.set()


@asynccontextmanager
async def open_services(settings: Settings, drain: Drain) -> AsyncGenerator[Poller]:
    """Open all that the endpoints need, and close it in reverse.

    Raises:
        StartupError: Something cannot be opened like this; says what to do.

    Cancellation:
        Everything is closed; messages that are owed to the store are given back.
    """
    async with AsyncExitStack() as stack:
        store = await _enter_store(stack, settings)
        client = await stack.enter_async_context(open_slock(settings))
        waits = Waits(drain, limit=settings.max_waits)
        watch = SlockWatch(client.ping, waits, limit=settings.backend_limit)
        nursery = await stack.enter_async_context(trio.open_nursery())
        await nursery.start(watch.run)
        yield Poller(client, store, waits, watch, settings)
        nursery.cancel_scope.cancel()


async def _enter_store(stack: AsyncExitStack, settings: Settings) -> MessageStore:
    store = open_store(settings.redis_url, limit=settings.backend_limit)
    try:
        # With an embedded engine, its port keeps a second process away.
        if settings.keeps_messages and settings.embedded_address is None:
            stack.enter_context(claimed_memory())
        return await stack.enter_async_context(store)
    except MemoryTaken:
        raise StartupError(_MEMORY_TAKEN) from None
    except ValueError as error:
        raise StartupError(f"{PREFIX}REDIS_URL: {error}") from error


app = Triopoll()
