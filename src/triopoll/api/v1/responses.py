"""What the endpoints of `/v1` answer where they do not do what was asked."""

from __future__ import annotations

import random

from ...asgi.messages import UNCACHED_JSON, Response
from ...asgi.query import BadQuery
from ...core.outcomes import Failure
from ...store import BadCursor
from ..validation import BadRequest, StrictStruct
from .serializers import ErrorResponse, encode

__all__ = [
    "FAILURES",
    "LARGE",
    "SPREAD_MS",
    "error_response",
    "failure_response",
    "refusal_response",
    "respond",
    "shortened",
]

# The largest part of a wait that is subtracted at random, so that many clients that
# were answered at the same time do not all poll at the same time from then on.
_JITTER = 0.1
# Milliseconds over which the clients of a server that is being replaced reconnect.
SPREAD_MS = 2000
# The same for a server whose backend is away, in the seconds of Retry-After.
_RETRY_AFTER = (1, 4)

# Bytes of messages from which on a response is encoded while no other one is: a page of
# 1 MiB takes some milliseconds, and its bytes twice.
LARGE = 2**16

FAILURES = {
    Failure.SLOCK_UNREACHABLE: "slock cannot be reached",
    Failure.SLOCK_REFUSED: "slock refused the request",
    Failure.STORE_UNREACHABLE: "the message store cannot be reached",
    Failure.STORE_FAILED: "the message store answered with an error",
    Failure.TOO_MANY_WAITS: "the limit of parked waits has been reached",
    Failure.TOO_MANY_HELD_KEYS: "the limit of keys held by waits has been reached",
    Failure.TOO_MANY_PENDING: "the limit of pending messages has been reached",
}


def shortened(seconds: float) -> float:
    """Return how long a wait of so many seconds takes: somewhat less, at random."""
    return seconds * (1 - random.uniform(0, _JITTER))


def refusal_response(error: BadRequest | BadCursor | BadQuery) -> Response:
    """Return what is answered to a request that is not as documented."""
    code = "bad_cursor" if isinstance(error, BadCursor) else "bad_request"
    return respond(ErrorResponse(code, str(error)), 400)


def failure_response(failure: Failure) -> Response:
    """Return what is answered where slock or the store does not do its part."""
    body = error_response(failure)
    body.retry_ms = retry_ms = 1000 * random.randint(*_RETRY_AFTER)
    return respond(body, 503, (b"retry-after", b"%d" % (retry_ms // 1000)))


def error_response(failure: Failure) -> ErrorResponse:
    """Return the body that says what has failed."""
    return ErrorResponse(failure.value, FAILURES[failure])


def respond(body: StrictStruct, status: int, *headers: tuple[bytes, bytes]) -> Response:
    """Return a response with a Struct as its JSON body."""
    return Response(encode(body), status, (*UNCACHED_JSON, *headers))
