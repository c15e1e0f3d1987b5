"""The access check never fails and never admits a request by accident."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.triopoll.access.asking import NOW
from tests.triopoll.access.variants import configured_keys, configured_tickets, token

from triopoll.access import AccessControl, Rules
from triopoll.access.cors import Cors
from triopoll.access.limits import RateLimiter
from triopoll.access.proxies import PROXY_HEADERS, TrustedProxies
from triopoll.api.refusals import format_v1
from triopoll.asgi.messages import Request, Response

NAMES = [
    "authorization",
    "cookie",
    "origin",
    "sec-fetch-site",
    "host",
    "x-real-ip",
    "access-control-request-method",
    *PROXY_HEADERS,
]
PIECES = [
    b"Bearer ",
    b"triopoll_ticket=",
    b";",
    b",",
    b" ",
    b'"',
    b"for=",
    b"[",
    b"]:80",
    b"::ffff:10.0.0.1",
    b"10.0.0.1",
    b"https://",
    b"app.example",
    b"session=",
    b"ticket=",
    b"&",
    b"%",
    b"%00",
    b"eyJhbGciOiJIUzI1NiJ9.",
    b".",
]

values = st.lists(st.sampled_from(PIECES) | st.binary(max_size=8), max_size=8).map(
    b"".join
)
requests = st.builds(
    Request,
    method=st.sampled_from(["GET", "POST", "OPTIONS", "BREW"]),
    path=st.text(max_size=8),
    query=values,
    headers=st.lists(
        st.tuples(st.sampled_from([name.encode() for name in NAMES]), values),
        max_size=6,
    ),
    peer=st.sampled_from(
        [None, "", "10.0.0.1", "::1", "fe80::1%1", "x", "203.0.113.9"]
    ),
    body=st.just(b""),
)


@pytest.mark.slow
@given(request=requests, key=st.text(), header=st.sampled_from(PROXY_HEADERS))
async def test_random_requests_are_refused(
    request: Request, key: str, header: str
) -> None:
    """A random combination of parts of valid requests is refused."""
    access_control = AccessControl(
        Rules(
            keyring=configured_keys(),
            tickets=configured_tickets(),
            cookie="triopoll_ticket",
            proxies=TrustedProxies(["10.0.0.0/8", "unix"], header),
            cors=Cors(["https://app.example"]),
        ),
        clock=lambda: NOW,
    )
    access_control.check(request)
    for answer in (
        access_control.admit_subscriber(request, [key], format_v1),
        access_control.admit_publisher(request, [key], format_v1),
    ):
        assert isinstance(answer, Response)
        assert answer.status in (400, 401, 403)


@pytest.mark.slow
@given(request=requests, key=st.text())
async def test_an_open_access_check_does_not_fail(request: Request, key: str) -> None:
    """Random requests do not fail without configuration, nor with a valid ticket."""
    access_control = AccessControl(clock=lambda: NOW)
    access_control.check(request)
    access_control.admit_subscriber(request, [key], format_v1)
    access_control.admit_publisher(request, [key], format_v1)
    tickets = AccessControl(Rules(tickets=configured_tickets()), clock=lambda: NOW)
    request.headers = [(b"authorization", f"Bearer {token(NOW)}".encode())]
    request.query = b""
    permit = tickets.admit_subscriber(request, [key], format_v1)
    assert isinstance(permit, Response)


@given(
    takes=st.lists(
        st.tuples(st.sampled_from("ab"), st.floats(0, 5)), min_size=1, max_size=60
    ),
    rate=st.sampled_from([0.5, 1.0, 3.0]),
    burst=st.integers(1, 5),
)
def test_no_address_exceeds_its_rate(
    takes: list[tuple[str, float]], rate: float, burst: int
) -> None:
    """In any period, an address gets at most the burst plus its rate."""
    rates = RateLimiter(rate, burst)
    now = 0.0
    served: dict[str, list[float]] = {"a": [], "b": []}
    for address, pause in takes:
        now += pause
        if not rates.take(address, now):
            served[address].append(now)
    for times in served.values():
        for begin in range(len(times)):
            for end in range(begin, len(times)):
                most = burst + rate * (times[end] - times[begin])
                assert end - begin + 1 <= most + 1e-6
