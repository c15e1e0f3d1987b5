"""Endpoints served by Quart: through its routing, its hooks and its request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import cast

from quart import Blueprint, Response, request

from .asgi.messages import Request
from .asgi.messages import Response as Answer
from .delivery import parcel_of

__all__ = ["quart_door"]

# What Quart would add of its own accord: HEAD would take a message and throw it away.
_METHODS = ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"]


def quart_door(
    paths: tuple[str, ...],
    serve: Callable[[Request], Awaitable[Answer]],
    sent: Callable[[Answer], None],
) -> Blueprint:
    """Return routes that hand every request for some paths to the endpoints.

    Args:
        paths: What is served.
        serve: Finds the endpoint, or the answer to a method that there is none for.
        sent: Told of each of its answers that is with the connection.
    """
    routes = Blueprint("endpoints", __name__)

    async def view() -> Response:
        client = request.scope["client"]
        body = cast("bytes", await request.get_data(cache=False))
        answer = await serve(
            Request(
                request.method,
                request.path,
                request.query_string,
                list(request.scope["headers"]),
                client[0] if client else None,
                body,
            )
        )
        parcel_of(request.scope).take(answer, sent)
        response = Response(answer.body, status=answer.status)
        del response.headers["content-type"]
        for name, value in answer.headers:
            response.headers.add(name.decode("latin-1"), value.decode("latin-1"))
        return response

    for path in paths:
        # Quart gives the dot in a name a meaning of its own.
        name = path.replace(".", "_")
        routes.add_url_rule(
            path, name, view, methods=_METHODS, provide_automatic_options=False
        )
    return routes
