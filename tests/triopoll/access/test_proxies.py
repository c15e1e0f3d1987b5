"""Addresses: a header counts as far as trusted hops have written it."""

from __future__ import annotations

import pytest
from tests.triopoll.access.asking import ask

from triopoll.access.proxies import (
    BadNetwork,
    TrustedProxies,
    Visitor,
    is_direct_and_local,
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
        # What a trusted hop was told is no address: the hop is what is sure.
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
    """Each hop vouches for the one that it was called by, and for no other."""
    assert visitor(value, "10.0.0.0/8") == address


def test_nobody_is_trusted_by_default() -> None:
    """A client that writes the header himself gets his own address."""
    assert visitor("127.0.0.1", peer="203.0.113.9") == "203.0.113.9"
    assert visitor("127.0.0.1", "10.0.0.0/8", peer="203.0.113.9") == "203.0.113.9"


def test_several_headers_are_one_list() -> None:
    """A proxy may add a header of its own below the client's."""
    request = ask(peer=PROXY)
    request.headers = [
        (b"x-forwarded-for", b"127.0.0.1"),
        (b"x-forwarded-for", b"198.51.100.7"),
    ]
    assert TrustedProxies([PROXY]).visitor(request).address == "198.51.100.7"


def test_a_long_list_is_read_from_its_end() -> None:
    """What a client piles up before it costs nothing and changes nothing."""
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
    """The header of RFC 7239, where the operator says that it is the one."""
    peers = TrustedProxies(["10.0.0.0/8"], "forwarded")
    request = ask(headers={"forwarded": value}, peer=PROXY)
    assert peers.visitor(request).address == address


def test_the_other_header_is_not_read() -> None:
    """A proxy that sets one passes on the other as the client has sent it."""
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
        # Behind these there may be anybody: a proxy that we were not told of.
        ("127.0.0.1", Visitor("127.0.0.1", None)),
        ("::1", Visitor("::1", None)),
        (None, Visitor(None, None)),
    ],
)
def test_what_is_counted_together(peer: str | None, visitor: Visitor) -> None:
    """An address of IPv4, a customer's network of IPv6."""
    assert TrustedProxies().visitor(ask(peer=peer)) == visitor


def test_a_trusted_hop_that_says_nothing_is_not_counted() -> None:
    """All its clients would share one limit."""
    assert TrustedProxies([PROXY]).visitor(ask(peer=PROXY)) == Visitor(PROXY, None)


def test_who_writes_nonsense_is_counted_all_the_same() -> None:
    """By the last hop that is sure, or nonsense would be a way around limits."""
    request = ask(headers={"x-forwarded-for": "nonsense"}, peer=PROXY)
    assert TrustedProxies([PROXY]).visitor(request) == Visitor(PROXY, PROXY)


def test_a_unix_socket_can_be_trusted() -> None:
    """A proxy on this machine may come through one."""
    request = ask(headers={"x-forwarded-for": "198.51.100.7"}, peer=None)
    assert TrustedProxies(["unix"]).visitor(request).address == "198.51.100.7"
    assert TrustedProxies([PROXY]).visitor(request).address is None
    assert TrustedProxies(["unix"]).any_trusted
    assert not TrustedProxies().any_trusted


@pytest.mark.parametrize("text", ["proxy", "10.0.0.1/8", "10.0.0.0/33", "", "10.0.0"])
def test_a_proxy_is_an_address_or_a_network(text: str) -> None:
    """A name would have to be asked for, and could be answered by anybody."""
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
    """The end of the connection tells, and no sign of a proxy on this machine."""
    assert is_direct_and_local(ask(peer=peer, headers=headers)) is local


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
    """Any other name can be made to point here by whoever owns it."""
    assert is_local_name(host) is local
