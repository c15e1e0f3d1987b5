"""Which client a request comes from, when there may be proxies in between.

A proxy appends the address of its client to a header. The header is read from its end,
one entry for each hop that is trusted, and the first address that is not a trusted hop
is the client: the entries before it were written by the client itself. Only one header
is read, which the operator names: a proxy that sets one of them passes on the other as
the client sent it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import TypeAlias

from ..asgi.messages import Request
from .headers import header_values

__all__ = [
    "FORWARDING",
    "LOOPBACKS",
    "PROXY_HEADERS",
    "X_FORWARDED",
    "BadNetwork",
    "TrustedProxies",
    "Visitor",
    "is_direct_and_local",
    "is_forwarded",
    "is_local_name",
    "is_loopback",
]

LOOPBACKS = frozenset({"127.0.0.1", "::1"})
"""The usual ones, to be found without a call."""
PROXY_HEADERS = ("x-forwarded-for", "forwarded")

# A request that carries one of these, or any that begins with X-Forwarded, has passed a
# proxy, trusted or not: the headers of the common proxies and providers, and the older
# names that load balancers still write.
FORWARDING = frozenset(
    b"""
    forwarded forwarded-for forwarded-proto via cdn-loop
    x-real-ip x-client-ip x-cluster-client-ip x-remote-ip x-remote-addr
    x-original-forwarded-for x-original-host x-original-url x-originating-ip
    x-proxyuser-ip x-coming-from client-ip proxy-client-ip wl-proxy-client-ip
    true-client-ip fastly-client-ip fly-client-ip fly-forwarded-port
    cf-connecting-ip cf-connecting-ipv6 cf-pseudo-ipv4 cf-ipcountry cf-ray cf-visitor
    do-connecting-ip incap-client-ip x-sucuri-clientip x-nf-client-connection-ip
    x-vercel-forwarded-for x-vercel-proxied-for x-azure-clientip x-azure-socketip
    x-envoy-external-address x-envoy-peer-metadata-id x-appengine-user-ip
    x-appengine-remote-addr x-arr-ssl x-arr-log-id tailscale-user-login
    """.split()
)
X_FORWARDED = b"x-forwarded"
_MAX_HOPS = 32
# Longer than an IPv6 address in full, in brackets, with a port.
_MAX_TEXT = 64
_UNIX = "unix"
# A customer of a network operator has at least one such IPv6 network.
_IPV6_SHARE = 64

_Address: TypeAlias = IPv4Address | IPv6Address
_Network: TypeAlias = IPv4Network | IPv6Network

# With or without a port, IPv6 with or without brackets.
_ENTRY = re.compile(r"\[([0-9a-fA-F:.]+)\](?::[0-9]{1,5})?|([0-9.]+):[0-9]{1,5}")


class BadNetwork(ValueError):
    """A trusted proxy is neither an address nor a network."""


@dataclass(frozen=True, slots=True)
class Visitor:
    """The client of a request.

    Attributes:
        address: The client's address as text; None for a Unix socket.
        bucket: What limits are counted by: the address, or its network in IPv6. None
            where clients cannot be distinguished: on this machine, or behind a trusted
            proxy that names no client.
    """

    address: str | None
    bucket: str | None


class TrustedProxies:
    """Find the client of a request.

    Attributes:
        any_trusted: Whether any hop is trusted.
    """

    def __init__(
        self, trusted: Iterable[str] = (), header: str = PROXY_HEADERS[0]
    ) -> None:
        """Set the trusted hops.

        Args:
            trusted: Addresses and networks of proxies, or ``unix`` for all
                connections through a Unix socket.
            header: Which header they write.

        Raises:
            BadNetwork: An entry is neither an address nor a network.
        """
        texts = list(trusted)
        self._networks = [_network(text) for text in texts if text != _UNIX]
        self._trusts_unix = _UNIX in texts
        self._header = header.encode()
        # A proxy that is not configured makes all its clients look like one.
        self.any_trusted = bool(texts)
        self._entries = _forwarded if header == "forwarded" else _forwarded_for

    def __repr__(self) -> str:
        return f"<TrustedProxies: {len(self._networks)} trusted networks>"

    def visitor(self, request: Request) -> Visitor:
        """Return the client of a request."""
        text = request.peer
        if text is not None and len(text) > _MAX_TEXT:
            # Some servers take it from a header: a client could fill the cache below.
            text = None
        if not self.any_trusted:
            return _direct(text)
        peer = _parse(text)
        if not self._is_trusted(peer):
            return _direct(text)
        client = self._client(request, peer)
        if client is None:
            return Visitor(_text(peer), None)
        return Visitor(_text(client), _bucket(client))

    def has_forwarded(self, request: Request) -> bool:
        """Return whether a trusted proxy has forwarded a request."""
        if not self.any_trusted or not self._is_trusted(_parse(request.peer)):
            return False
        return bool(header_values(request, self._header))

    def scheme(self, request: Request) -> str:
        """Return the scheme with which a client has asked, as far as that is known."""
        if self.has_forwarded(request):
            schemes = header_values(request, b"x-forwarded-proto")
            if schemes in ([b"http"], [b"https"]):
                return schemes[0].decode()
        return request.scheme

    def _client(self, request: Request, peer: _Address | None) -> _Address | None:
        """Return the first hop from the end that is not trusted, None without any."""
        hop = None
        for entry in self._entries(header_values(request, self._header)):
            address = _parse(entry)
            if address is None:
                # A trusted proxy passed on an entry that is not an address. The
                # address of that proxy is the last one that is certain.
                return hop or peer
            hop = address
            if not self._is_trusted(hop):
                break
        return hop

    def _is_trusted(self, address: _Address | None) -> bool:
        if address is None:
            return self._trusts_unix
        return any(address in network for network in self._networks)


def is_direct_and_local(request: Request) -> bool:
    """Return whether a program on this machine has connected, and not a proxy.

    The address alone is not enough: a reverse proxy on this machine has it as well.
    """
    return is_loopback(request.peer) and not is_forwarded(request)


def is_forwarded(request: Request) -> bool:
    """Return whether a header says that a proxy has forwarded a request."""
    for name, _ in request.headers:
        if name in FORWARDING or name.startswith(X_FORWARDED):
            return True
    return False


def is_loopback(text: str | None) -> bool:
    """Return whether a text is a loopback address."""
    address = _parse(text)
    return address is not None and address.is_loopback


def is_local_name(host: str) -> bool:
    """Return whether a Host header names this machine in a way that DNS cannot fake."""
    name = re.sub(r":[0-9]{1,5}$", "", host).strip("[]").lower()
    if name == "localhost":
        return True
    address = _parse(name)
    return address is not None and address.is_loopback


@lru_cache(maxsize=4096)
def _direct(text: str | None) -> Visitor:
    peer = _parse(text)
    if peer is None or peer.is_loopback:
        return Visitor(_text(peer), None)
    return Visitor(_text(peer), _bucket(peer))


def _network(text: str) -> _Network:
    try:
        return ip_network(text)
    except ValueError:
        raise BadNetwork(
            f"has {text!r}, which is neither an address nor a network nor {_UNIX!r}"
        ) from None


def _parse(text: str | None) -> _Address | None:
    return None if text is None or len(text) > _MAX_TEXT else _parse_short(text)


# Most requests come from addresses seen a moment ago.
@lru_cache(maxsize=4096)
def _parse_short(text: str) -> _Address | None:
    if match := _ENTRY.fullmatch(text):
        text = match[1] or match[2]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address.scope_id is not None:
            return IPv6Address(int(address))
    return address


def _text(address: _Address | None) -> str | None:
    return None if address is None else str(address)


def _bucket(address: _Address) -> str:
    if isinstance(address, IPv4Address):
        return str(address)
    return str(IPv6Network((address, _IPV6_SHARE), strict=False))


def _forwarded_for(values: list[bytes]) -> Iterator[str]:
    """Yield the entries of X-Forwarded-For, the last one first."""
    for entry in _from_the_end(values):
        yield entry.strip()


def _forwarded(values: list[bytes]) -> Iterator[str]:
    """Yield the ``for`` of each hop of Forwarded (RFC 7239), the last one first.

    Commas within quotes are not respected, on purpose: an opening quote that the
    client wrote would swallow what the proxy has written behind it.
    """
    for entry in _from_the_end(values):
        pairs = (pair.partition("=") for pair in entry.split(";"))
        names = [v.strip() for k, _, v in pairs if k.strip().lower() == "for"]
        yield names[0].strip('"') if len(names) == 1 else ""


def _from_the_end(values: list[bytes]) -> list[str]:
    entries = b",".join(values).decode("latin-1").rsplit(",", _MAX_HOPS)
    return entries[::-1][:_MAX_HOPS] if values else []
