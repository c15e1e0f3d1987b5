"""``/v1/stream/<path>``: decode, check access, do, answer."""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TypeAlias
from urllib.parse import quote

from ...access import AdmittedPublisher, Permit
from ...access.headers import header_values
from ...asgi.messages import (
    UNCACHED,
    Headers,
    Request,
    Response,
    Routes,
    StreamingResponse,
)
from ...asgi.query import BadQuery
from ...core.outcomes import Failure
from ...core.streams import StreamRead, Streams
from ...services import Services
from ...store import Refused, StreamRefusal, StreamView
from ..refusals import format_v1
from ..v1.responses import failure_response
from ..validation import BadRequest, check_key
from .cursors import next_cursor
from .decoding import (
    PREFIX,
    BodyTooLong,
    StreamQuery,
    check_path,
    read_append,
    read_creation,
    read_query,
)
from .events import EventStream
from .log_view import LogView
from .replies import (
    STREAM_HEADERS_OF_ANSWERS,
    append_response,
    created_response,
    head_response,
    not_modified,
    page_response,
    refusal_response,
    refused_response,
)

__all__ = ["STREAM_HEADERS", "STREAM_ROUTE", "stream_routes"]

STREAM_ROUTE = f"{PREFIX}{{path}}"
STREAM_HEADERS: Mapping[str, Headers] = {STREAM_ROUTE: STREAM_HEADERS_OF_ANSWERS}

# The protocol's own paths, for subscriptions, which are not served.
_RESERVED = "__ds"
# Below it are the logs of keys, which can be read as streams.
_LOG = "log/"
_READ_ONLY: Headers = ((b"allow", b"GET, HEAD"),)
# Any other Host would make a Location that leads elsewhere.
_HOST = re.compile(
    rb"[A-Za-z0-9._-]+(?::[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](?::[0-9]{1,5})?"
)
_SAFE = "/-._~!$&'()*+,;=:@"

_Answer: TypeAlias = Response | StreamingResponse
_Method: TypeAlias = Callable[[Request, str], Awaitable[_Answer]]


def stream_routes(services: Services) -> Routes:
    """Return the endpoints of `/v1/stream/`.

    Args:
        services: What the endpoints use.
    """
    endpoints = _StreamEndpoints(services)
    methods: Mapping[str, _Method] = {
        "GET": endpoints.read,
        "HEAD": endpoints.look,
        "PUT": endpoints.create,
        "POST": endpoints.append,
        "DELETE": endpoints.delete,
    }
    answers = {name: partial(_answer, method) for name, method in methods.items()}
    return {STREAM_ROUTE: answers}


async def _answer(method: _Method, request: Request) -> _Answer:
    try:
        path = check_path(request.path_values["path"])
        if path.partition("/")[0] == _RESERVED:
            return refusal_response(Refused(reason=StreamRefusal.UNKNOWN))
        return await method(request, path)
    except BodyTooLong as error:
        return refused_response(413, "append_too_long", str(error))
    except (BadRequest, BadQuery) as error:
        return refused_response(400, "bad_request", str(error))


class _StreamEndpoints:
    """One method for each of HTTP's."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._streams = services.streams
        self._logs = LogView(services)
        # What was read with a ticket is for its holder.
        self._is_shared = services.access.rules.tickets is None

    async def create(self, request: Request, path: str) -> Response:
        new = read_creation(request, self._services.settings, time.time())
        paths = (path,) if new.fork is None else (path, new.fork.path)
        if isinstance(refusal := self._admit(request, *paths), Response):
            return refusal
        made = await self._streams.create(path, new)
        if isinstance(made, Refused):
            if made.reason is StreamRefusal.DELETED:
                # The path is not free.
                made = Refused(reason=StreamRefusal.CONFLICT)
            return refusal_response(made)
        if isinstance(made, Failure):
            return failure_response(made)
        return created_response(made, self._location(request))

    async def append(self, request: Request, path: str) -> Response:
        new = read_append(request, self._services.settings)
        if isinstance(refusal := self._admit(request, path), Response):
            return refusal
        appended = await self._streams.append(path, new)
        if isinstance(appended, Refused):
            received = None if new.producer is None else new.producer.seq
            return refusal_response(appended, received)
        if isinstance(appended, Failure):
            return failure_response(appended)
        return append_response(new, appended)

    async def delete(self, request: Request, path: str) -> Response:
        if isinstance(refusal := self._admit(request, path), Response):
            return refusal
        refused = await self._streams.delete(path)
        if isinstance(refused, Refused):
            return refusal_response(refused)
        if isinstance(refused, Failure):
            return failure_response(refused)
        return Response(b"", 204, UNCACHED)

    async def look(self, request: Request, path: str) -> Response:
        source, name = self._source(path)
        permit = self._services.access.admit_subscriber(request, (name,), format_v1)
        if isinstance(permit, Response):
            return permit
        found: StreamView | Refused | Failure | None = None
        with permit:
            found = await source.look(name)
        if isinstance(found, StreamView):
            return head_response(found)
        return _not_found(found, permit)

    async def read(self, request: Request, path: str) -> _Answer:
        query = read_query(request)
        source, name = self._source(path)
        permit = self._services.access.admit_subscriber(request, (name,), format_v1)
        if isinstance(permit, Response):
            return permit
        if query.live == "sse":
            drain, settings = self._services.drain, self._services.settings
            return EventStream(source, name, query, permit, drain, settings).response
        read = partial(source.read, name, query.after)
        return await self._read(request, query, permit, read)

    async def _read(
        self,
        request: Request,
        query: StreamQuery,
        permit: Permit,
        read: Callable[..., Awaitable[StreamRead | Refused | Failure]],
    ) -> Response:
        seconds = self._services.settings.stream_timeout if query.live else 0
        found: StreamRead | Refused | Failure | None = None
        with permit:
            found = await read(seconds, permit.visitor.bucket)
        if isinstance(found, StreamRead):
            return self._page_response(request, query, found)
        return _not_found(found, permit)

    def _page_response(
        self, request: Request, query: StreamQuery, found: StreamRead
    ) -> Response:
        """Return the answer to a read that has found something or was too long."""
        cursor = next_cursor(query.cursor, time.time())
        shared = self._is_shared
        response = page_response(found.page, query, cursor, shared=shared)
        response.woken = found.woken
        return not_modified(response, header_values(request, b"if-none-match"))

    def _source(self, path: str) -> tuple[Streams | LogView, str]:
        """Return what is read at a path, and its name there.

        Raises:
            BadRequest: The key of a log cannot be used.
        """
        if not path.startswith(_LOG):
            return self._streams, path
        key = path.removeprefix(_LOG)
        check_key(key, self._services.settings.max_key_bytes, "the path", "key")
        return self._logs, key

    def _admit(self, request: Request, *paths: str) -> AdmittedPublisher | Response:
        if paths[0].startswith(_LOG):
            message = "a log is written by /v1/publish, and can only be read here"
            return refused_response(405, "method", message, _READ_ONLY)
        return self._services.access.admit_publisher(request, paths, format_v1)

    def _location(self, request: Request) -> str:
        """Return the address of a stream; only its path where the host is not known."""
        path = quote(request.root + request.path, safe=_SAFE)
        hosts = header_values(request, b"host")
        if len(hosts) != 1 or not _HOST.fullmatch(hosts[0]):
            return path
        scheme = self._services.access.rules.proxies.scheme(request)
        return f"{scheme}://{hosts[0].decode()}{path}"


def _not_found(found: Refused | Failure | None, permit: Permit) -> Response:
    """Return why nothing was found; None if the permit has ended meanwhile."""
    if isinstance(found, Failure):
        return failure_response(found)
    if isinstance(found, Refused):
        return refusal_response(found)
    assert permit.ended is not None
    return permit.ended
