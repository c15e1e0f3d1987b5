"""Cross-origin requests: which pages' scripts may read responses, by an allow-list.

A browser adds cookies to every request, and sends a plain GET without a preflight. So
the list has two uses: it decides what a script may read, and a ticket that came by
cookie alone counts only from pages of this host or of the list.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from urllib.parse import urlsplit

from ..asgi.messages import Request, Response
from .headers import header_values

__all__ = ["BadOrigin", "Cors"]

_ANY = "*"
_ORIGIN = re.compile(r"https?://[a-z0-9._\[\]:-]+", re.ASCII)
_METHODS = b"GET, POST"
# Those of Durable Streams, and what any endpoint reads of a page's request.
_REQUEST_HEADERS = (
    b"authorization, content-type, if-none-match, last-event-id, producer-epoch, "
    b"producer-id, producer-seq, stream-closed, stream-expires-at, stream-fork-offset, "
    b"stream-fork-sub-offset, stream-forked-from, stream-seq, stream-ttl, "
    b"triopoll-poll-secret"
)
_EXPOSED = (
    b"etag, location, producer-epoch, producer-expected-seq, producer-received-seq, "
    b"producer-seq, retry-after, stream-closed, stream-cursor, stream-expires-at, "
    b"stream-next-offset, stream-sse-data-encoding, stream-ttl, stream-up-to-date"
)
# Seconds for which a browser need not ask again; Chromium takes two hours at most.
_MAX_AGE = b"7200"


class BadOrigin(ValueError):
    """An entry of the allow-list is not an origin."""


class Cors:
    """The allow-list of origins.

    Attributes:
        origins: Its entries.
    """

    def __init__(self, origins: Iterable[str] = ()) -> None:
        """Allow some origins.

        Args:
            origins: ``https://app.example.com``, without a path; or ``*`` for all
                origins, which then may not send cookies.

        Raises:
            BadOrigin: An entry is not an origin, or ``*`` is not alone.
        """
        self.origins = frozenset(origins)
        self._any = _ANY in self.origins
        if self._any and len(self.origins) > 1:
            raise BadOrigin("has * and other origins; * is for all of them")
        for origin in self.origins - {_ANY}:
            if not _ORIGIN.fullmatch(origin):
                # What stands before an @ may be a password.
                shown = origin.rpartition("@")[2]
                raise BadOrigin(
                    f"has {shown!r}, which is not an origin such as "
                    "https://app.example (in lower case, without a path)"
                )

    def __repr__(self) -> str:
        return f"<Cors: {', '.join(sorted(self.origins)) or 'no origins'}>"

    def preflight(self, request: Request, methods: bytes = _METHODS) -> Response | None:
        """Return the response to a preflight, or None for any other request.

        The pipeline adds `headers` to it, as to every response.

        Args:
            request: Any request.
            methods: The methods that the path has.
        """
        if request.method != "OPTIONS":
            return None
        if not header_values(request, b"access-control-request-method"):
            return None
        headers: list[tuple[bytes, bytes]] = []
        if self._allowed(_origin(request)) is not None:
            headers = [
                (b"access-control-allow-methods", methods),
                (b"access-control-allow-headers", _REQUEST_HEADERS),
                (b"access-control-max-age", _MAX_AGE),
            ]
        return Response(b"", 204, tuple(headers))

    def headers(self, request: Request) -> list[tuple[bytes, bytes]]:
        """Return the headers to add to any response to this request."""
        if not self.origins:
            return []
        allowed = self._allowed(_origin(request))
        if self._any:
            vary: list[tuple[bytes, bytes]] = []
        else:
            # Also for an origin that is not allowed: a cache that ignored the header
            # would serve the response without permission to all.
            vary = [(b"vary", b"Origin")]
        if allowed is None:
            return vary
        headers = [*vary, (b"access-control-allow-origin", allowed)]
        headers.append((b"access-control-expose-headers", _EXPOSED))
        if not self._any:
            headers.append((b"access-control-allow-credentials", b"true"))
        return headers

    def _allowed(self, origin: str | None) -> bytes | None:
        if origin is None:
            return None
        if self._any:
            return _ANY.encode()
        return origin.encode() if origin in self.origins else None

    def trusts_page(self, request: Request) -> bool:
        """Return whether the page behind a request is of this host or of the list.

        A request without an Origin comes from a program or from an old browser. ``*``
        lets pages read responses; it does not make them trusted.
        """
        origin = _origin(request)
        if origin is not None and origin in self.origins:
            return True
        if origin is not None and not _same_host(origin, request):
            return False
        return _fetch_site(request) in (None, "same-origin", "none")

    def may_read(self, request: Request) -> bool:
        """Return whether the page behind a request may read, or there is none.

        It may if `trusts_page` says so, or if ``*`` lets all pages read. Some browsers
        send neither Origin nor Sec-Fetch-Site with a plain GET, so Referer counts then.
        """
        if self._any:
            return True
        if not self.trusts_page(request):
            return False
        if _origin(request) is not None or _fetch_site(request) is not None:
            return True
        pages = map(_origin_of, header_values(request, b"referer"))
        return all(p in self.origins or _same_host(p, request) for p in pages)

    def has_page(self, request: Request) -> bool:
        """Return whether there is a page behind a request, whichever it is."""
        if _origin(request) is not None or header_values(request, b"referer"):
            return True
        return _fetch_site(request) not in (None, "none")


def _origin(request: Request) -> str | None:
    values: Sequence[bytes] = header_values(request, b"origin")
    if not values:
        return None
    # Two values joined are never an entry of the list.
    return b",".join(values).decode("latin-1")


def _origin_of(referer: bytes) -> str:
    try:
        parts = urlsplit(referer.decode("latin-1"))
    except ValueError:
        return ""
    return f"{parts.scheme}://{parts.netloc}"


def _fetch_site(request: Request) -> str | None:
    values = header_values(request, b"sec-fetch-site")
    return b",".join(values).decode("latin-1") if values else None


def _same_host(origin: str, request: Request) -> bool:
    # Only the host: behind a proxy that ends TLS the scheme is not known.
    try:
        host = urlsplit(origin).netloc
    except ValueError:
        return False
    hosts = header_values(request, b"host")
    return bool(host) and hosts == [host.encode("latin-1")]
