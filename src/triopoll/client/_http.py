"""One HTTP/1.1 connection: a request, its response, the next request.

The connection is opened when it is needed, and kept for the next request. A request
that ends early, by an error or a cancellation, closes it: the rest of its response
would be taken for the response to the next request.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import h11
import trio

from ._errors import ConnectFailed, ConnectionBroken, reason_of
from ._responses import HttpResponse

__all__ = ["HttpConnection", "Site"]

_CONNECT_SECONDS = 10.0
# A page of the server has about 1 MiB, and JSON may make six bytes of one.
_MAX_BODY = 16 * 2**20
# Of a response that is no success, only the beginning is read.
_MAX_ERROR_BODY = 64 * 2**10
_MAX_HEAD = 64 * 2**10
_READ = 64 * 2**10
# A kept connection that breaks within this time had been closed by the server before.
_STALE_SECONDS = 1.0
# A host in brackets, and its port; a user name before it is refused by its own name.
_BRACKETED = re.compile(r"(?:.*@)?\[[^\[\]]+\](?::\d*)?")


@dataclass(frozen=True, slots=True)
class Site:
    """Where the server is.

    Attributes:
        host: Name or address.
        port: TCP port.
        tls: For ``https``; None without.
        prefix: What all paths begin with, "" or "/something".
    """

    host: str
    port: int
    tls: ssl.SSLContext | None = field(default=None, repr=False)
    prefix: str = ""

    @classmethod
    def parse(cls, url: str, tls: ssl.SSLContext | None = None) -> Site:
        """Read the URL of the server.

        Raises:
            ValueError: It is no http or https URL, or has more than a path.
        """
        parts = urlsplit(url)
        # urlsplit() of some Pythons finds the host "::1" in "a[::1]b".
        misplaced = "[" in parts.netloc and not _BRACKETED.fullmatch(parts.netloc)
        if parts.scheme not in ("http", "https") or not parts.hostname or misplaced:
            raise ValueError(f"{url!r} is not of the form http[s]://HOST[:PORT][/PATH]")
        if parts.query or parts.fragment or parts.username is not None:
            raise ValueError("the server's URL may have a path, and nothing else")
        secure = parts.scheme == "https"
        context = (tls or ssl.create_default_context()) if secure else None
        port = parts.port or (443 if secure else 80)
        return cls(parts.hostname, port, context, parts.path.rstrip("/"))

    @property
    def authority(self) -> str:
        """Return the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port in (80, 443) else f"{host}:{self.port}"

    async def open_stream(self) -> trio.abc.Stream:
        """Connect, or raise OSError, or `trio.BrokenResourceError` where TLS fails."""
        stream = await trio.open_tcp_stream(self.host, self.port)
        if self.tls is None:
            return stream
        secure = trio.SSLStream(
            stream, self.tls, server_hostname=self.host, https_compatible=True
        )
        try:
            await secure.do_handshake()
        except BaseException:
            await trio.aclose_forcefully(secure)
            raise
        return secure


@dataclass(slots=True)
class _Received:
    """What has been received of a response.

    Attributes:
        any: Whether any byte has arrived.
        head: Its status and headers, once they are complete.
        body: What has arrived of its body.
    """

    any: bool = False
    head: h11.Response | None = None
    body: bytearray = field(default_factory=bytearray)

    @property
    def is_error(self) -> bool:
        return self.head is not None and self.head.status_code >= 300

    @property
    def is_too_long(self) -> bool:
        return len(self.body) > (_MAX_ERROR_BODY if self.is_error else _MAX_BODY)

    def response(self) -> HttpResponse:
        assert self.head is not None
        headers = dict(self.head.headers)
        return HttpResponse(self.head.status_code, headers, bytes(self.body))


class HttpConnection:
    """One connection to the site, for one request at a time."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._stream: trio.abc.Stream | None = None
        self._http = h11.Connection(h11.CLIENT)

    def __repr__(self) -> str:
        state = "closed" if self._stream is None else "open"
        return f"<HttpConnection: {self._site.authority}, {state}>"

    async def request(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes = b"",
        *,
        seconds: float,
    ) -> HttpResponse:
        """Send a request and return its response.

        If a kept connection turns out to have been closed by the server, the request is
        sent again on a new one, so it must be harmless to serve it twice.

        A response that is no success is returned also if its body is not complete: its
        status is enough.

        Raises:
            ConnectFailed: There is no connection to send it on.
            ConnectionBroken: The response is not complete within `seconds`.

        Cancellation:
            The server may have served the request. The connection is closed.
        """
        request = h11.Request(
            method=method,
            target=self._site.prefix + path,
            headers=[*self._headers(body).items(), *headers.items()],
        )
        reused = self._stream is not None
        started = trio.current_time()
        try:
            return await self._try(request, body, seconds)
        except ConnectionBroken as cut:
            # Closed before the request was sent, which the client notices only now.
            is_stale = trio.current_time() - started < _STALE_SECONDS
            if not (reused and is_stale and not cut.answering):
                raise
        return await self._try(request, body, seconds)

    async def aclose(self) -> None:
        """Close the connection; another request opens it again."""
        stream, self._stream = self._stream, None
        if stream is not None:
            await trio.aclose_forcefully(stream)

    def _headers(self, body: bytes) -> dict[str, str]:
        every = {
            "Host": self._site.authority,
            "User-Agent": "triopoll",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "Cache-Control": "no-cache",
        }
        if body:
            every["Content-Length"] = str(len(body))
        return every

    async def _try(
        self, request: h11.Request, body: bytes, seconds: float
    ) -> HttpResponse:
        stream = self._stream or await self._connect()
        # `_keep` sets it again, once the response is complete.
        self._stream = None
        received = _Received()
        cause: Exception | None = None
        try:
            with trio.move_on_after(seconds):
                await self._send_and_receive(stream, request, body, received)
                self._keep(stream)
                return received.response()
        except (OSError, trio.BrokenResourceError, h11.RemoteProtocolError) as error:
            cause = error
        finally:
            if self._stream is None:
                await trio.aclose_forcefully(stream)
        if received.is_error:
            return received.response()
        why = "no response in time" if cause is None else reason_of(cause)
        raise ConnectionBroken(why, answering=received.any) from cause

    async def _connect(self) -> trio.abc.Stream:
        try:
            with trio.fail_after(_CONNECT_SECONDS):
                stream = await self._site.open_stream()
        except (OSError, trio.BrokenResourceError, trio.TooSlowError) as error:
            why = f"{self._site.authority}: {reason_of(error)}"
            raise ConnectFailed(why) from error
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEAD)
        return stream

    async def _send_and_receive(
        self,
        stream: trio.abc.Stream,
        request: h11.Request,
        body: bytes,
        received: _Received,
    ) -> None:
        http = self._http
        events = (request, h11.Data(data=body), h11.EndOfMessage())
        data = b"".join(http.send(event) or b"" for event in events)
        # A server that refuses a long body may have answered before it closed.
        with suppress(trio.BrokenResourceError):
            await stream.send_all(data)
        while True:
            event = http.next_event()
            if event is h11.NEED_DATA:
                chunk = await stream.receive_some(_READ)
                received.any = received.any or bool(chunk)
                http.receive_data(bytes(chunk))
            elif isinstance(event, h11.Response):
                received.head = event
            elif isinstance(event, h11.Data):
                received.body += event.data
                if received.is_too_long:
                    return
            elif isinstance(event, h11.EndOfMessage):
                return
            elif not isinstance(event, h11.InformationalResponse):
                raise trio.BrokenResourceError("closed before the response")

    def _keep(self, stream: trio.abc.Stream) -> None:
        """Keep the connection for the next request, if both sides are ready for it."""
        http = self._http
        ready = http.our_state is h11.DONE and http.their_state is h11.DONE
        # Bytes behind the response would be read as the start of the next one.
        if ready and not http.trailing_data[0]:
            http.start_next_cycle()
            self._stream = stream
