"""HTTP requests and responses as the endpoints see them: without a framework.

An endpoint is a coroutine function from `Request` to `Response` or `StreamingResponse`.
It is cancelled when its client disconnects, and so is the body of a streaming response.
An endpoint that waits may return a `Pending` response, which is withdrawn then.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias
from urllib.parse import urlsplit

from ..pending import Pending
from .json import to_json
from .query import Query, parse_query
from .types import Scope, Send

__all__ = [
    "ACKNOWLEDGED",
    "CANCELS",
    "PARKING",
    "UNCACHED",
    "UNCACHED_JSON",
    "Answer",
    "Endpoint",
    "Headers",
    "ParkedRequest",
    "Parking",
    "Request",
    "Response",
    "Routes",
    "StreamWriter",
    "StreamingResponse",
    "json_response",
    "request_of",
]

Headers: TypeAlias = Sequence[tuple[bytes, bytes]]

# Extension of an ASGI scope: the server cancels the application when the client
# disconnects, so the application need not watch `receive()` for it.
CANCELS = "triopoll.cancels"

# Extension of an ASGI scope, with a coroutine function "wait": it returns whether the
# client's system has acknowledged all that was sent, once that is known.
ACKNOWLEDGED = "triopoll.taken"

# Extension of an ASGI scope: a `Parking`.
PARKING = "triopoll.parking"

# A response to a wait is for one client and one moment: no cache may store it, and
# nginx must not buffer it.
UNCACHED: Headers = (
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
)
_JSON: Headers = ((b"content-type", b"application/json"),)
# RFC 9110, section 8.6: 204 has no Content-Length, and that of 304 is that of the
# response that is not sent again.
_WITHOUT_LENGTH = (204, 304)
UNCACHED_JSON: Headers = (*_JSON, *UNCACHED)


class ParkedRequest(Protocol):
    """A request whose application has returned, and whose response is still to come.

    What is woken writes the response itself, by `Parking.respond_now`: no task has to
    run for it. Its methods but `proceed` return at once.
    """

    @property
    def deadline(self) -> float:
        """Return when to call `expire`, by trio's clock; may be infinite."""
        ...

    def start(self) -> None:
        """Wait for the response, which may be written at once."""
        ...

    def expire(self) -> None:
        """Write what is answered when the time is over."""
        ...

    async def proceed(self, scope: Scope, send: Send) -> bool:
        """Go on after `Parking.call_back`.

        Args:
            scope: Of the request, at least its extensions.
            send: ASGI's.

        Returns:
            Whether the response was sent; otherwise `start` it again.

        Raises:
            OSError: The connection is broken.

        Cancellation:
            The request is neither parked nor responded to: withdraw it.
        """
        ...

    def withdraw(self) -> None:
        """End the wait without a response; does nothing if it is over."""
        ...


class Parking(Protocol):
    """A connection of a server that can keep a request without a task for it.

    Attributes:
        sender: ASGI's `send` of the request. An application that gets another one has
            something in between, which must see the response.
        parked: The request that is kept. An application sets it and returns, without a
            response; then the server calls `ParkedRequest.start`, and later `expire` or
            `withdraw` if that is due.
    """

    sender: Send | None
    parked: ParkedRequest | None

    def respond_now(
        self, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes
    ) -> None:
        """Write the whole response to a parked request, which is over.

        Raises:
            RuntimeError: A header is not valid.
        """
        ...

    def call_back(self) -> None:
        """Call `ParkedRequest.proceed`, soon, in the connection's task."""
        ...


@dataclass(slots=True)
class Request:
    """One request.

    Attributes:
        method: In capitals.
        path: Decoded, below the path that the application is mounted at.
        query: The query string as received, percent-encoded.
        headers: In order, names in lower case.
        peer: Address of the other end of the connection, which may be a proxy; None
            where it has none, such as on a Unix socket.
        body: Empty until the pipeline has read it.
        server: Address of this end of the connection, None where it has none.
        visitor: The client, once the access check has found it.
        scheme: Of the connection to this server, "http" or "https". A proxy in front
            may have been asked by another one.
        root: The path that the application is mounted at, without a slash at its end.
        route: The template of its endpoint; None without an endpoint.
        path_values: What the parameters of the template match.
    """

    method: str
    path: str
    query: bytes
    # Headers and bodies have secrets, and what is printed ends in logs.
    headers: Headers = field(repr=False)
    peer: str | None = None
    body: bytes = field(default=b"", repr=False)
    server: str | None = None
    scheme: str = "http"
    root: str = ""
    visitor: Any = field(default=None, init=False, repr=False, compare=False)
    route: str | None = field(default=None, init=False, repr=False, compare=False)
    path_values: Mapping[str, str] = field(
        default_factory=dict[str, str], init=False, repr=False, compare=False
    )
    _parameters: Query | None = field(default=None, init=False, repr=False)

    @property
    def parameters(self) -> Query:
        """Return the parsed query string.

        Raises:
            BadQuery: It has too many fields.
        """
        if self._parameters is None:
            self._parameters = parse_query(self.query)
        return self._parameters


@dataclass(slots=True)
class Response:
    """What an endpoint answers.

    Attributes:
        body: Whole.
        status: HTTP status.
        headers: Without the framing headers, which the server adds.
        ack: Called once the body was handed to the connection, or acknowledged by the
            client's system where the server can tell; returns at once, does not fail.
        nack: Called instead if the body was not handed over; returns at once, does not
            fail.
        woken: When the wait that this responds to was woken, by `metrics.monotonic`.
    """

    body: bytes
    status: int = 200
    headers: Headers = field(default=_JSON)
    ack: Callable[[], None] | None = None
    nack: Callable[[], None] | None = None
    woken: float | None = None

    @property
    def framed_headers(self) -> list[tuple[bytes, bytes]]:
        """Return the headers, and what frames the body."""
        if self.status in _WITHOUT_LENGTH:
            return [*self.headers]
        return [*self.headers, (b"content-length", b"%d" % len(self.body))]


class StreamWriter(Protocol):
    """Sends the body of a streaming response, piece by piece.

    Attributes:
        started: The head has been sent, or is being sent.
    """

    started: bool

    async def send(self, piece: bytes, woken: float | None = None) -> None:
        """Send a piece of the body, the first one with the head; a checkpoint.

        It returns when the connection has taken all of the piece, so a body that makes
        the next piece then keeps one piece in memory, however slowly its client reads.

        Args:
            piece: Any bytes; nothing is sent for no bytes.
            woken: When the wait was woken that this piece comes of, as in `Response`.

        Raises:
            OSError: The connection is broken, the client has not read the piece in
                time, or an earlier piece was cut.

        Cancellation:
            The piece may have been cut: then nothing more can be sent.
        """
        ...


@dataclass(slots=True)
class StreamingResponse:
    """A response whose body is made while it is sent.

    Attributes:
        write: Makes the body. No other task runs between the return of the endpoint and
            its call, so what the endpoint has decided still holds. It may return a
            whole response instead, as long as it has sent nothing. An error breaks the
            connection once the head is out, so that no client takes the part for the
            whole. It is cancelled when the client disconnects; a drain does not cancel
            it: what it waits for is parked (`core.parked_waits`), and what sends for
            long looks at `Drain.released`.
        status: HTTP status.
        headers: Without the framing headers, which the server adds.
    """

    write: Callable[[StreamWriter], Awaitable[Response | None]]
    status: int = 200
    headers: Headers = ()


Answer: TypeAlias = "Response | StreamingResponse | Pending[Response]"
Endpoint: TypeAlias = Callable[[Request], Awaitable[Answer]]
# Endpoints by path or template (see `routing`), then by method.
Routes: TypeAlias = Mapping[str, Mapping[str, Endpoint]]


def request_of(scope: Mapping[str, Any]) -> Request:
    """Return the request of an ASGI scope, its body not read yet.

    Source: ASGI HTTP specification: ``path`` includes ``root_path``, the path that an
    application is mounted at. Some servers leave it out, so it is removed only where it
    is there.

    RFC 9112, 3.2: a target may also be a whole URL, or `*`. Some servers pass these on
    as the path.
    """
    path, root = scope["path"], scope.get("root_path", "").rstrip("/")
    if not path.startswith("/"):
        path = _path_of_target(path)
    if root and (path == root or path.startswith(f"{root}/")):
        path = path[len(root) :] or "/"
    client, server = scope.get("client"), scope.get("server")
    return Request(
        # A websocket handshake has no method in its scope: it is a GET.
        scope.get("method", "GET"),
        path,
        scope["query_string"],
        scope["headers"],
        client[0] if client else None,
        server=server[0] if server else None,
        scheme=scope.get("scheme", "http"),
        root=root,
    )


def _path_of_target(target: str) -> str:
    with suppress(ValueError):  # an address that is none, as in http://[
        target = urlsplit(target).path
    return target if target.startswith("/") else f"/{target}"


def json_response(shape: object, status: int = 200, headers: Headers = ()) -> Response:
    """Return a response with a JSON body."""
    return Response(to_json(shape).encode(), status, (*_JSON, *headers))
