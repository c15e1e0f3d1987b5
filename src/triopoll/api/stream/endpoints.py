"""``/v1/stream/<path>``: decode, check access, do, answer."""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TypeAlias
from urllib.parse import quote

import trio

from ...access import AdmittedPublisher, Permit
from ...access.headers import header_values
from ...asgi.messages import (
    UNCACHED,
    Answer,
    Headers,
    Request,
    Response,
    Routes,
)
from ...asgi.query import BadQuery
from ...core.log_wait import LogWait
from ...core.outcomes import Failure
from ...core.stream_wait import StreamRead, StreamWait
from ...core.streams import Streams
from ...core.wait_items import ReadResult
from ...services import Services
from ...store import (
    Refused,
    StreamAppended,
    StreamCreated,
    StreamRefusal,
    StreamView,
    Where,
)
from ..pending_response import PendingResponse
from ..refusals import format_v1
from ..v1.responses import LARGE
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
from .log_view import LogView, stream_read
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

_Found: TypeAlias = StreamRead | Refused | Failure
_Method: TypeAlias = Callable[[Request, str], Awaitable[Answer]]


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


async def _answer(method: _Method, request: Request) -> Answer:
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
        if isinstance(made, Refused) and made.reason is StreamRefusal.DELETED:
            # The path is not free.
            made = Refused(reason=StreamRefusal.CONFLICT)
        if not isinstance(made, StreamCreated):
            return refusal_response(made)
        return created_response(made, self._location(request))

    async def append(self, request: Request, path: str) -> Response:
        new = read_append(request, self._services.settings)
        if isinstance(refusal := self._admit(request, path), Response):
            return refusal
        appended = await self._streams.append(path, new)
        if isinstance(appended, StreamAppended):
            return append_response(new, appended)
        received = None if new.producer is None else new.producer.seq
        return refusal_response(appended, received)

    async def delete(self, request: Request, path: str) -> Response:
        if isinstance(refusal := self._admit(request, path), Response):
            return refusal
        refused = await self._streams.delete(path)
        if refused is None:
            return Response(b"", 204, UNCACHED)
        return refusal_response(refused)

    async def look(self, request: Request, path: str) -> Response:
        source, name = self._source(path)
        permit = self._services.access.admit_subscriber(request, (name,), format_v1)
        if isinstance(permit, Response):
            return permit
        with permit:
            found = await source.look(name)
        if permit.ended is not None:
            return permit.ended
        if isinstance(found, StreamView):
            return head_response(found)
        return refusal_response(found)

    async def read(self, request: Request, path: str) -> Answer:
        query = read_query(request)
        source, name = self._source(path)
        permit = self._services.access.admit_subscriber(request, (name,), format_v1)
        if isinstance(permit, Response):
            return permit
        if query.live == "sse":
            drain, settings = self._services.drain, self._services.settings
            return EventStream(source, name, query, permit, drain, settings).response
        page_response = partial(self._page_response, request, query)
        if not query.live:
            with permit:
                found = await source.read(name, query.after)
            return page_response(found) if permit.ended is None else permit.ended
        seconds, visitor = self._services.settings.stream_timeout, permit.visitor
        with _PendingPage(permit, query.after, page_response) as pending:
            begun = await source.begin_read(name, query.after, seconds, visitor.bucket)
            if isinstance(begun, (StreamWait, LogWait)):
                return pending.after(begun)
            return await pending.respond(begun)

    def _page_response(
        self, request: Request, query: StreamQuery, found: _Found
    ) -> Response:
        """Return the answer to what a read has found."""
        if not isinstance(found, StreamRead):
            return refusal_response(found)
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


class _PendingPage(PendingResponse[_Found | ReadResult]):
    """The response to a long poll, of a stream or of a log."""

    __slots__ = ("_after", "_page_response")

    def __init__(
        self, permit: Permit, after: Where, page_response: Callable[[_Found], Response]
    ) -> None:
        super().__init__(permit)
        self._after = after
        self._page_response = page_response

    def _respond(self, outcome: _Found | ReadResult) -> Response | None:
        if not isinstance(outcome, ReadResult):
            return self._page_response(outcome)
        return None if outcome.size >= LARGE else self._encode(outcome)

    async def _respond_in_task(self, outcome: _Found | ReadResult) -> Response:
        assert isinstance(outcome, ReadResult)
        # Others are served before each of the readers that wake at once.
        await trio.lowlevel.checkpoint()
        return self._encode(outcome)

    def _encode(self, outcome: ReadResult) -> Response:
        return self._page_response(stream_read(outcome, self._after))
