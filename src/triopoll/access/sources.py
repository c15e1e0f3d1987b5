"""Whether a request may be a web page's attempt to reach a service on this machine.

A service that listens on a loopback address is open to the programs of this machine. A
browser is one of them, and each page in it can make it send requests there. Two rules
keep pages out, of publishing and of everything else that is open without a ticket:

- **Host.** A name that an attacker has registered can be made to point to 127.0.0.1
  after the page was loaded (DNS rebinding). The page then has the service's origin, and
  only the Host header shows the name.
- **Page.** Browsers name the page behind a request in Origin, Sec-Fetch-Site or
  Referer. Programs send none of these.

Headers of proxies lift no rule unless the proxy is configured: a rebound page may set
any of them.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import lru_cache
from ipaddress import ip_address

from ..asgi.messages import Request
from .cors import Cors
from .headers import header_values
from .proxies import (
    LOOPBACKS,
    TrustedProxies,
    is_direct_and_local,
    is_local_name,
    is_loopback,
)
from .refusals import Refusal

__all__ = ["BadHost", "Sources"]

_HOST = Refusal(
    403,
    "host",
    "the name in the Host header is not served: see TRIOPOLL_HOSTS, or "
    "TRIOPOLL_TRUSTED_PROXIES for a proxy on this machine",
)
_PAGE = Refusal(403, "origin", "the origin of this page is not listed")
_NAME = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*", re.ASCII)
_PORT = re.compile(r":[0-9]{0,5}$", re.ASCII)
_PAGE_HEADERS = frozenset({b"origin", b"sec-fetch-site", b"referer"})
# The longest name of DNS, with a port.
_MAX_HOST = 260


class BadHost(ValueError):
    """An entry of the list of hosts is not a host name."""


class Sources:
    """Tell requests of programs and of admitted pages from those of other pages."""

    def __init__(
        self, cors: Cors, proxies: TrustedProxies, hosts: Collection[str] = ()
    ) -> None:
        """Set whom to admit.

        Args:
            cors: Which pages may read.
            proxies: What a configured proxy forwards is none of this machine's.
            hosts: Names under which the service is reached, without a port. If there
                are any, they are required of every connection.

        Raises:
            BadHost: An entry is not a host name in lower case.
        """
        for host in hosts:
            if not _NAME.fullmatch(host):
                raise BadHost(
                    f"has {host!r}, which is not a host name such as poll.example (in "
                    "lower case, without a port)"
                )
        self._cors = cors
        self._proxies = proxies
        self._hosts = frozenset(hosts)

    def __repr__(self) -> str:
        return f"<Sources: {', '.join(sorted(self._hosts)) or 'no hosts'}>"

    def refuse_reader(self, request: Request, *, is_open: bool) -> Refusal | None:
        """Return why a request may not read, or None.

        Args:
            request: For an endpoint of the service.
            is_open: Whether no ticket is needed. A ticket proves more than these rules.
        """
        # Some servers replace the peer by what a header says; so the server's own
        # address counts as well.
        is_local = (
            is_open
            and (
                request.peer in LOOPBACKS
                or is_loopback(request.peer)
                or is_loopback(request.server)
            )
            and not (self._proxies.any_trusted and self._proxies.has_forwarded(request))
        )
        if not (is_local or self._hosts):
            return None
        has_page = False
        for name, value in request.headers:
            if name == b"host":
                if not (
                    (len(value) <= _MAX_HOST and _is_unregistrable(value))
                    or self._is_listed(value)
                ):
                    return _HOST
            elif name in _PAGE_HEADERS:
                has_page = True
        if is_local and has_page and not self._cors.may_read(request):
            return _PAGE
        return None

    def refuse_change(self, request: Request) -> Refusal | None:
        """Return why a GET may not change a state, or None.

        Browsers send a GET of any page, without asking first.
        """
        return None if self._cors.may_read(request) else _PAGE

    def is_local_program(self, request: Request) -> bool:
        """Return whether a program of this machine has sent a request, and not a page.

        Stricter than `refuse_reader`: no page is a program, listed or not.
        """
        return (
            is_direct_and_local(request)
            and all(
                is_local_name(host.decode("latin-1"))
                for host in header_values(request, b"host")
            )
            and not self._cors.has_page(request)
        )

    def _is_listed(self, host: bytes) -> bool:
        return _name_of(host) in self._hosts


def _name_of(host: bytes) -> str:
    return _PORT.sub("", host.decode("latin-1").lower())


@lru_cache(maxsize=1024)
def _is_unregistrable(host: bytes) -> bool:
    """Return whether no page of the public web can have this host.

    These are addresses, names below ``localhost`` (RFC 6761) and names without a dot,
    which the public DNS does not have: a proxy's name for its upstream, for example.
    """
    name = _name_of(host)
    if name == "localhost" or name.endswith(".localhost"):
        return True
    if "." not in name and _NAME.fullmatch(name):
        return True
    try:
        ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True
