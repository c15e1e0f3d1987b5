"""One HTTP request and its answer, as the endpoints see them: without a framework.

An endpoint is a coroutine function from `Request` to `Response`. It is cancelled when
its client leaves. Who calls it, Quart or the lean door, is none of its business, so the
two cannot answer differently.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from .json import to_json

__all__ = [
    "TAKEN",
    "UNCACHED",
    "UNCACHED_JSON",
    "Response",
    "Endpoint",
    "Headers",
    "Request",
    "Routes",
    "json_response",
]

Headers: TypeAlias = Sequence[tuple[bytes, bytes]]

# Extension of an ASGI scope: its server, or whatever carries the application, cancels
# the application when the client leaves, so that it need not look out for that.
CANCELS = "triopoll.cancels"

# Extension of an ASGI scope, with a coroutine function "wait": it returns whether the
# client's system has acknowledged all that was sent, once that is known.
TAKEN = "triopoll.taken"

# An answer to a wait is for this client and this moment; and nginx must not hold it.
UNCACHED: Headers = (
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
)
_JSON: Headers = ((b"content-type", b"application/json"),)
UNCACHED_JSON: Headers = (*_JSON, *UNCACHED)


@dataclass(slots=True)
class Request:
    """One request, its body read.

    Attributes:
        method: In capitals.
        path: Decoded, as routed.
        query: As it came, percent-encoded.
        headers: In order, names in lower case.
        peer: Address of the other end of the connection, which may be a proxy; None
            where it has none, such as on a unix socket.
        body: Empty where there is none.
    """

    method: str
    path: str
    query: bytes
    headers: Headers
    peer: str | None = None
    body: bytes = b""


@dataclass(slots=True)
class Response:
    """What an endpoint answers.

    Attributes:
        body: Whole.
        status: HTTP status.
        headers: Without those of framing, which are the server's.
        confirm: Called once the body was handed to the connection, or was
            acknowledged where the server can tell; returns at once and does not fail.
        give_back: Called if it was not, from wherever that is noticed; returns at once
            and does not fail.
        woken: When the wait that this answers was woken, by `metrics.monotonic`.
    """

    body: bytes
    status: int = 200
    headers: Headers = field(default=_JSON)
    confirm: Callable[[], None] | None = None
    give_back: Callable[[], None] | None = None
    woken: float | None = None

    def settle(self, *, handed_over: bool) -> None:
        """Confirm what the answer carries, or give it back."""
        settle = self.confirm if handed_over else self.give_back
        if settle is not None:
            settle()


Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]
# Endpoints by path, then by method.
Routes: TypeAlias = Mapping[str, Mapping[str, Endpoint]]


def json_response(shape: object, status: int = 200, headers: Headers = ()) -> Response:
    """Return an answer with a JSON body."""
    return Response(to_json(shape).encode(), status, (*_JSON, *headers))
