"""The service in a thread: its HTTP server, and calls from outside."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any
from urllib.parse import urlencode

import trio

from triopoll.access.keyring import entry_for
from triopoll.app import Triopoll
from triopoll.server import HttpServer, ServerSettings, listen, open_socket
from triopoll.server.lifespan import open_lifespan
from triopoll.settings import Settings
from trioslock.testing import InThread, open_in_thread

__all__ = ["API_KEY", "TriopollServer", "open_settings", "open_triopoll_server"]

API_KEY = "triopoll-testing-key"
"""The API key with which a test publishes, to any key."""

_LIMIT = 30.0
_HOST = "127.0.0.1"

# Hours may go by on the clock of the thread, and connections stay open.
_SERVER = ServerSettings(
    keep_alive=1e9, linger=0.2, drain_delay=0.0, drain_window=0.0, drain_grace=1.0
)


class TriopollServer:
    """The service on 127.0.0.1, in a thread; made by `open_triopoll_server`.

    All methods may be called from any thread, and return when the service has answered.

    Attributes:
        url: ``http://127.0.0.1:PORT``.
        port: Its port.
        slock_url: Its slock server.
        api_key: With which publishers come; see `API_KEY`.
    """

    api_key: str = API_KEY

    def __init__(self, thread: InThread[int], settings: Settings) -> None:
        """Take over a thread that serves.

        Args:
            thread: Its value is the port.
            settings: Those of the application.
        """
        self._thread = thread
        self.port: int = thread.value
        self.url: str = f"http://{_HOST}:{self.port}"
        self.slock_url: str = settings.slock_url.replace("embedded:", "slock:")

    def __repr__(self) -> str:
        return f"<TriopollServer {self.url}>"

    def publish(self, key: str, data: object, **fields: object) -> dict[str, Any]:
        """Publish a message through ``POST /v1/publish``.

        Args:
            key: The key.
            data: Any JSON value.
            fields: More of the message, such as ``id`` and ``ttl``.

        Returns:
            Its item of the answer, such as ``{"id": ..., "woken": True, ...}``.

        Raises:
            AssertionError: The service refuses it; the message has the answer.
        """
        message = {"key": key, "data": data, **fields}
        answer = self.request("POST", "/v1/publish", message)
        item: dict[str, Any] = answer["items"][0]
        return item

    def messages(self, key: str) -> list[Any]:
        """Return the data of all messages of a key that are kept, oldest first.

        Raises:
            AssertionError: The service refuses it; the message has the answer.
        """
        query = urlencode({"key": key, "cursor": "all", "timeout": 0})
        page = self.request("GET", f"/v1/messages?{query}")
        return [message["data"] for message in page["messages"]]

    def request(
        self, method: str, path: str, body: Mapping[str, object] | None = None
    ) -> Any:
        """Send a request with the API key; return the JSON of the answer.

        Raises:
            AssertionError: The status is not 200.
        """
        connection = http.client.HTTPConnection(_HOST, self.port, timeout=_LIMIT)
        headers = {"Authorization": f"Bearer {self.api_key}"}
        try:
            content = None if body is None else json.dumps(body)
            connection.request(method, path, content, headers)
            response = connection.getresponse()
            text = response.read()
        finally:
            connection.close()
        assert response.status == 200, f"{method} {path}: {response.status} {text!r}"
        return json.loads(text)

    def advance(self, seconds: float) -> None:
        """Let the clock of the service go forward: waits and leases end by then.

        The age of a message is counted by the wall clock, which goes on as it does.

        Args:
            seconds: By how much.
        """
        self._thread.advance(seconds)

    def stop_clock(self) -> None:
        """Let the time of the service stand still, but for `advance`."""
        self._thread.stop_clock()


@contextmanager
def open_settings(**options: Any) -> Generator[Settings]:
    """Make settings for a service that has all it needs in memory.

    Args:
        options: Fields of the settings. ``slock_url`` is an engine of its own on a free
            port, which is reserved for the body of the ``with``; ``publish_keys`` has
            `API_KEY`.

    Raises:
        TypeError: There is no such setting.
    """
    with socket.socket() as reserved:
        # As long as it does not listen, the engine may take the port, and no other
        # program is given it.
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind((_HOST, 0))
        chosen: dict[str, Any] = {
            "slock_url": f"embedded://{_HOST}:{reserved.getsockname()[1]}",
            "publish_keys": entry_for("tests", API_KEY, ["*"]),
            **options,
        }
        yield Settings(**chosen)


@contextmanager
def open_triopoll_server(
    app: Triopoll, settings: Settings
) -> Generator[TriopollServer]:
    """Serve an application on a free port of 127.0.0.1 for the body of a ``with``.

    At its end the waits that are parked are answered.

    Args:
        app: One that has not been served.
        settings: Its settings.

    Raises:
        StartupFailed: The application refuses to start.
    """
    with open_in_thread(partial(_open, app), name="triopoll test server") as thread:
        yield TriopollServer(thread, settings)


@asynccontextmanager
async def _open(app: Triopoll) -> AsyncGenerator[int]:
    sock = open_socket(f"{_HOST}:0")
    listener = listen(sock)
    port: int = sock.getsockname()[1]
    server = HttpServer(app, _SERVER)
    async with listener, open_lifespan(app) as state, trio.open_nursery() as nursery:
        await nursery.start(server.accept, [listener], state)
        yield port
        await server.drain_all(at_once=True)
        nursery.cancel_scope.cancel()
