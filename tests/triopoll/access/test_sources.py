"""What a web page may do to a service on this machine: only what its origin may."""

from __future__ import annotations

import pytest
from tests.triopoll.access.asking import ask

from triopoll.access.cors import Cors
from triopoll.access.proxies import TrustedProxies
from triopoll.access.sources import BadHost, Sources
from triopoll.asgi.messages import Request

APP = "https://app.example"


def sources(*hosts: str, origins: tuple[str, ...] = (), proxy: str = "") -> Sources:
    return Sources(Cors(origins), TrustedProxies(proxy.split()), hosts)


def refused(given: Sources, request: Request, *, is_open: bool = True) -> str | None:
    refusal = given.refuse_reader(request, is_open=is_open)
    return None if refusal is None else refusal.code


def local(**headers: str) -> Request:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return ask(headers={"host": "127.0.0.1:8000", **named}, peer="127.0.0.1")


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:8000",
        "app.localhost:3000",
        "127.0.0.1:8000",
        "[::1]:8000",
        "[::1]",
        "192.168.1.5:8000",
        "triopoll",
        "backend_1:80",
    ],
)
def test_hosts_that_no_public_page_can_have(host: str) -> None:
    """Addresses, names of this machine and names without a dot are served."""
    assert refused(sources(), local(host=host)) is None


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8000",
        "localhost.evil.example",
        "evil.example.",
        "127.0.0.1.evil.example",
        "127.0.0.1@evil.example",
        "",
        " ",
        "a.b" * 100,
        "localhost.",
        "127.1",
        "xlocalhost.de",
        "evil.example,localhost",
        "caf\xe9",
    ],
)
def test_a_host_name_that_was_rebound(host: str) -> None:
    """Any other name may point here by DNS; proxies' headers change nothing in that."""
    assert refused(sources(), local(host=host)) == "host"
    forged = local(host=host, x_forwarded_for="198.51.100.7", forwarded="for=1.1.1.1")
    assert refused(sources(), forged) == "host"


def test_each_of_several_hosts_counts() -> None:
    """Two readers may pick different ones."""
    request = local()
    request.headers = [*request.headers, (b"host", b"evil.example")]
    assert refused(sources(), request) == "host"


def test_a_program_may_send_no_host() -> None:
    """HTTP/1.0 has none, and every browser sends one."""
    assert refused(sources(), ask(peer="::1")) is None


@pytest.mark.parametrize(
    ("headers", "may_read"),
    [
        ({}, True),
        ({"origin": APP}, True),
        ({"origin": APP, "sec_fetch_site": "cross-site"}, True),
        ({"origin": "http://127.0.0.1:8000"}, True),
        ({"sec_fetch_site": "same-origin"}, True),
        ({"sec_fetch_site": "none"}, True),
        ({"referer": "http://127.0.0.1:8000/page?x"}, True),
        ({"referer": f"{APP}/page"}, True),
        ({"origin": "http://evil.example"}, False),
        ({"origin": "http://127.0.0.1:3000"}, False),
        ({"origin": "null"}, False),
        ({"sec_fetch_site": "cross-site"}, False),
        ({"sec_fetch_site": "same-site"}, False),
        ({"sec_fetch_site": "cross-site", "referer": f"{APP}/"}, False),
        ({"referer": "http://evil.example/page"}, False),
        ({"referer": "http://["}, False),
    ],
)
def test_pages(headers: dict[str, str], may_read: bool) -> None:
    """The service's own pages and listed ones may read; no page is a program."""
    given, request = sources(origins=(APP,)), local(**headers)
    assert (refused(given, request) is None) is may_read
    assert (given.refuse_change(request) is None) is may_read
    is_program = not headers or headers == {"sec_fetch_site": "none"}
    assert given.is_local_program(request) is is_program


def test_all_pages_may_read_where_all_are_listed() -> None:
    """* is the operator's word for that; it makes no page a program."""
    given, request = sources(origins=("*",)), local(origin="http://evil.example")
    assert refused(given, request) is None
    assert given.refuse_change(request) is None
    assert not given.is_local_program(request)
    assert refused(given, local(host="evil.example")) == "host"


def test_where_the_rules_hold() -> None:
    """On this machine, as either end of the connection says, and without tickets."""
    request = local(host="evil.example", origin="http://evil.example")
    assert refused(sources(), request) == "host"
    assert refused(sources(), request, is_open=False) is None
    request.peer = "203.0.113.9"
    assert refused(sources(), request) is None
    # A server that believes X-Forwarded-For has replaced the peer.
    request.server = "127.0.0.1"
    assert refused(sources(), request) == "host"
    request.peer = request.server = None
    assert refused(sources(), request) is None


def test_a_configured_proxy_forwards_for_others() -> None:
    """What it forwards is not from this machine; what lacks its header is."""
    given = sources(proxy="127.0.0.1")
    host = "poll.example"
    assert refused(given, local(host=host, x_forwarded_for="198.51.100.7")) is None
    assert refused(given, local(host=host)) == "host"
    assert refused(given, local(host=host, forwarded="for=1.1.1.1")) == "host"


def test_listed_hosts_are_required_of_all() -> None:
    """From other machines, through proxies and with tickets, too."""
    given = sources("poll.example", proxy="127.0.0.1")
    for peer in ("127.0.0.1", "203.0.113.9", None):
        for host, code in [
            ("poll.example", None),
            ("POLL.example:443", None),
            ("10.0.0.7:8000", None),
            ("evil.example", "host"),
            ("x.poll.example", "host"),
        ]:
            request = ask(headers={"host": host, "x-forwarded-for": "x"}, peer=peer)
            assert refused(given, request) == code
            assert refused(given, request, is_open=False) == code


@pytest.mark.parametrize("host", ["https://a.b", "a.b:80", "A.b", "*.a", ".a", "a..b"])
def test_a_host_that_would_never_match_is_refused(host: str) -> None:
    """At the start, not as a 403 for everything."""
    with pytest.raises(BadHost):
        sources(host)


def test_repr() -> None:
    """It says which hosts are served."""
    assert repr(sources("b.c", "a.b")) == "<Sources: a.b, b.c>"
    assert repr(sources()) == "<Sources: no hosts>"
