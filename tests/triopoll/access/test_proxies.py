"""Client addresses: a header counts only as far as trusted proxies wrote it."""

from __future__ import annotations

import pytest
from tests.triopoll.access.asking import ask

from triopoll.access.proxies import (
    BadNetwork,
    TrustedProxies,
    Visitor,
    is_direct_and_local,
    is_forwarded,
    is_local_name,
)

PROXY = "10.0.0.1"


def visitor(value: str, *trusted: str, peer: str | None = PROXY) -> str | None:
    headers = {"x-forwarded-for": value}
    return TrustedProxies(trusted).visitor(ask(headers=headers, peer=peer)).address


@pytest.mark.parametrize(
    ("value", "address"),
    [
        ("198.51.100.7", "198.51.100.7"),
        # The client's own words stand on the left of what the proxy has written.
        ("127.0.0.1, 198.51.100.7", "198.51.100.7"),
        ("nonsense, 198.51.100.7", "198.51.100.7"),
        ("198.51.100.7, 10.0.0.2", "198.51.100.7"),
        ("198.51.100.7,10.0.0.3,10.0.0.2", "198.51.100.7"),
        ("10.0.0.3, 10.0.0.2", "10.0.0.3"),
        # As some proxies write ports.
        ("198.51.100.7:4711", "198.51.100.7"),
        ("[2001:db8::1]:4711", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("2001:DB8::1", "2001:db8::1"),
        ("::ffff:198.51.100.7", "198.51.100.7"),
        # The trusted proxy received an invalid address: the proxy itself counts.
        ("198.51.100.7, unknown", PROXY),
        ("198.51.100.7, ", PROXY),
        ("", PROXY),
        ("198.51.100.7, unknown, 10.0.0.2", "10.0.0.2"),
        ("198.51.100.7, " + "1" * 200, PROXY),
        ("198.51.100.256", PROXY),
    ],
)
def test_the_first_address_from_the_end_that_is_not_trusted(
    value: str, address: str
) -> None:
    """The client is the last address in the header that is not a trusted proxy."""
    assert visitor(value, "10.0.0.0/8") == address


def test_no_proxy_is_trusted_by_default() -> None:
    """By default the header is ignored: the client is the connection's address."""
    assert visitor("127.0.0.1", peer="203.0.113.9") == "203.0.113.9"
    assert visitor("127.0.0.1", "10.0.0.0/8", peer="203.0.113.9") == "203.0.113.9"


def test_several_headers_are_one_list() -> None:
    """Repeated headers form one list: a proxy may add its own after the client's."""
    request = ask(peer=PROXY)
    request.headers = [
        (b"x-forwarded-for", b"127.0.0.1"),
        (b"x-forwarded-for", b"198.51.100.7"),
    ]
    assert TrustedProxies([PROXY]).visitor(request).address == "198.51.100.7"


def test_a_long_list_is_read_from_its_end() -> None:
    """A long list from the client costs nothing and changes nothing."""
    value = "1.1.1.1," * 2000 + "198.51.100.7"
    assert visitor(value, "10.0.0.0/8") == "198.51.100.7"
    trusted_all = ",".join(["10.0.0.2"] * 2000)
    assert visitor(trusted_all, "10.0.0.0/8") == "10.0.0.2"


@pytest.mark.parametrize(
    ("value", "address"),
    [
        ("for=198.51.100.7", "198.51.100.7"),
        ("For=198.51.100.7;proto=https;by=10.0.0.1", "198.51.100.7"),
        ('proto=https; for="[2001:db8::1]:47"', "2001:db8::1"),
        ("for=127.0.0.1, for=198.51.100.7", "198.51.100.7"),
        # An open quote of the client must not swallow what the proxy has written.
        ('for="127.0.0.1, for=198.51.100.7', "198.51.100.7"),
        ("for=198.51.100.7;for=127.0.0.1", PROXY),
        ("for=_hidden", PROXY),
        ("proto=https", PROXY),
    ],
)
def test_forwarded(value: str, address: str) -> None:
    """The header of RFC 7239 is read if the operator configures it."""
    peers = TrustedProxies(["10.0.0.0/8"], "forwarded")
    request = ask(headers={"forwarded": value}, peer=PROXY)
    assert peers.visitor(request).address == address


def test_the_other_header_is_not_read() -> None:
    """The header that is not configured is ignored: clients can set it."""
    request = ask(headers={"forwarded": "for=127.0.0.1"}, peer=PROXY)
    assert TrustedProxies([PROXY]).visitor(request).address == PROXY
    request = ask(headers={"x-forwarded-for": "127.0.0.1"}, peer=PROXY)
    assert TrustedProxies([PROXY], "forwarded").visitor(request).address == PROXY


@pytest.mark.parametrize(
    ("peer", "visitor"),
    [
        ("203.0.113.9", Visitor("203.0.113.9", "203.0.113.9")),
        ("2001:db8::1:2:3", Visitor("2001:db8::1:2:3", "2001:db8::/64")),
        ("fe80::1%eth0", Visitor("fe80::1", "fe80::/64")),
        ("::ffff:203.0.113.9", Visitor("203.0.113.9", "203.0.113.9")),
        # A proxy that is not configured may have forwarded these requests.
        ("127.0.0.1", Visitor("127.0.0.1", None)),
        ("::1", Visitor("::1", None)),
        (None, Visitor(None, None)),
    ],
)
def test_what_is_counted_together(peer: str | None, visitor: Visitor) -> None:
    """One client is an IPv4 address or an IPv6 network of 64 bits."""
    assert TrustedProxies().visitor(ask(peer=peer)) == visitor


def test_a_trusted_hop_that_says_nothing_is_not_counted() -> None:
    """A trusted proxy without the header is not limited by address."""
    assert TrustedProxies([PROXY]).visitor(ask(peer=PROXY)) == Visitor(PROXY, None)


def test_an_invalid_entry_avoids_no_limit() -> None:
    """An invalid entry counts for the last valid address, so it avoids no limit."""
    request = ask(headers={"x-forwarded-for": "nonsense"}, peer=PROXY)
    assert TrustedProxies([PROXY]).visitor(request) == Visitor(PROXY, PROXY)


def test_a_unix_socket_can_be_trusted() -> None:
    """A proxy on this machine may connect through a unix socket."""
    request = ask(headers={"x-forwarded-for": "198.51.100.7"}, peer=None)
    assert TrustedProxies(["unix"]).visitor(request).address == "198.51.100.7"
    assert TrustedProxies([PROXY]).visitor(request).address is None
    assert TrustedProxies(["unix"]).any_trusted
    assert not TrustedProxies().any_trusted


@pytest.mark.parametrize("text", ["proxy", "10.0.0.1/8", "10.0.0.0/33", "", "10.0.0"])
def test_a_proxy_is_an_address_or_a_network(text: str) -> None:
    """A host name is refused: it would depend on DNS."""
    with pytest.raises(BadNetwork):
        TrustedProxies([text])


@pytest.mark.parametrize(
    ("peer", "headers", "local"),
    [
        ("127.0.0.1", {}, True),
        ("127.8.8.8", {}, True),
        ("::1", {}, True),
        ("::ffff:127.0.0.1", {}, True),
        ("203.0.113.9", {}, False),
        ("203.0.113.9", {"x-forwarded-for": "127.0.0.1"}, False),
        (None, {}, False),
        ("localhost", {}, False),
        ("127.0.0.1", {"x-forwarded-for": "127.0.0.1"}, False),
        ("127.0.0.1", {"forwarded": "for=127.0.0.1"}, False),
        ("127.0.0.1", {"x-real-ip": "127.0.0.1"}, False),
        ("127.0.0.1", {"via": "1.1 proxy"}, False),
    ],
)
def test_who_is_on_this_machine(
    peer: str | None, headers: dict[str, str], local: bool
) -> None:
    """A peer is local by its address, and if no header shows a proxy."""
    assert is_direct_and_local(ask(peer=peer, headers=headers)) is local


@pytest.mark.parametrize(
    "name",
    [
        "CF-Connecting-IP",
        "True-Client-IP",
        "Fly-Client-IP",
        "X-Real-IP",
        "X-Client-IP",
        "X-Cluster-Client-IP",
        "Forwarded",
        "Via",
        "X-Forwarded-Anything",
        "CDN-Loop",
        "Fastly-Client-IP",
        "X-Original-Forwarded-For",
        "X-Azure-ClientIP",
        "X-Envoy-External-Address",
        "DO-Connecting-IP",
        "Tailscale-User-Login",
    ],
)
def test_the_headers_of_proxies(name: str) -> None:
    """Each that a common proxy or provider writes shows that one has forwarded."""
    request = ask(peer="127.0.0.1", headers={name.lower(): "x"})
    assert is_forwarded(request)
    assert not is_direct_and_local(request)


@pytest.mark.parametrize("name", ["user-agent", "forwarding", "x-request-id", "origin"])
def test_the_headers_of_programs(name: str) -> None:
    """Other headers say nothing about a proxy."""
    assert not is_forwarded(ask(peer="127.0.0.1", headers={name: "x"}))


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("localhost", True),
        ("LOCALHOST:8000", True),
        ("127.0.0.1", True),
        ("127.0.0.1:8000", True),
        ("[::1]", True),
        ("[::1]:8000", True),
        ("", False),
        ("evil.example", False),
        ("localhost.evil.example:8000", False),
        ("127.0.0.1.evil.example", False),
        ("10.0.0.1:8000", False),
    ],
)
def test_names_of_this_machine(host: str, local: bool) -> None:
    """Only localhost and loopback addresses count: DNS can point other names here."""
    assert is_local_name(host) is local


@pytest.mark.parametrize(
    ("peer", "headers", "scheme"),
    [
        ("10.0.0.1", {"x-forwarded-for": "192.0.2.1"}, "http"),
        ("10.0.0.1", {"x-forwarded-for": "1.2.3.4", "x-forwarded-proto": "https"}, ""),
        ("10.0.0.1", {"x-forwarded-for": "1.2.3.4", "x-forwarded-proto": "x"}, "http"),
        ("10.0.0.9", {"x-forwarded-for": "1.2.3.4", "x-forwarded-proto": "x"}, "http"),
    ],
)
def test_the_scheme_that_a_client_has_used(
    peer: str, headers: dict[str, str], scheme: str
) -> None:
    """A trusted proxy says it; anything else that it says does not count."""
    request = ask(headers=headers)
    request.peer = peer
    assert TrustedProxies(["10.0.0.1"]).scheme(request) == (scheme or "https")
