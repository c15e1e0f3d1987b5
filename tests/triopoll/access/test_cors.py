"""CORS: listed origins may read with credentials; * never allows credentials."""

from __future__ import annotations

import pytest
from tests.triopoll.access.asking import ask

from triopoll.access.cors import BadOrigin, Cors

APP = "https://app.example"
OTHER = "https://evil.example"
EXPOSED = (
    b"etag, location, producer-epoch, producer-expected-seq, producer-received-seq, "
    b"producer-seq, retry-after, stream-closed, stream-cursor, stream-expires-at, "
    b"stream-next-offset, stream-sse-data-encoding, stream-ttl, stream-up-to-date"
)


def headers(cors: Cors, *origins: str) -> dict[bytes, bytes]:
    request = ask()
    request.headers = [(b"origin", origin.encode()) for origin in origins]
    pairs = cors.headers(request)
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def test_an_origin_on_the_list_may_read_and_send_cookies() -> None:
    """The answer names the origin, and Vary makes caches keep it apart."""
    assert headers(Cors([APP, "http://localhost:3000"]), APP) == {
        b"vary": b"Origin",
        b"access-control-allow-origin": APP.encode(),
        b"access-control-allow-credentials": b"true",
        b"access-control-expose-headers": EXPOSED,
    }


@pytest.mark.parametrize(
    "origin",
    [
        OTHER,
        "null",
        "",
        APP + ".evil.example",
        APP + "/",
        APP + ":8443",
        APP.upper(),
        "http://app.example",
        "https://app.exampl",
        "https://app.example\x00",
    ],
)
def test_another_origin_gets_nothing_but_the_vary(origin: str) -> None:
    """Origins are compared exactly; an unlisted origin gets Vary and no permission."""
    assert headers(Cors([APP]), origin) == {b"vary": b"Origin"}


def test_two_origins_are_none() -> None:
    """Two Origin headers count as none: no browser sends two."""
    assert headers(Cors([APP]), APP, APP) == {b"vary": b"Origin"}
    assert headers(Cors([APP])) == {b"vary": b"Origin"}


def test_all_origins_may_read_without_cookies() -> None:
    """* never comes with credentials, or any page could act for the user."""
    assert headers(Cors(["*"]), OTHER) == {
        b"access-control-allow-origin": b"*",
        b"access-control-expose-headers": EXPOSED,
    }
    assert headers(Cors(["*"])) == {}


def test_without_a_list_nothing_is_said() -> None:
    """Without a list no CORS header is sent, so browsers hide the answer."""
    assert headers(Cors(), APP) == {}


def test_a_preflight_is_answered() -> None:
    """The answer allows two methods and the headers that the service reads."""
    asked = {"origin": APP, "access-control-request-method": "POST"}
    cors, request = Cors([APP]), ask("OPTIONS", headers=asked)
    answer = cors.preflight(request)
    assert answer is not None
    assert (answer.status, answer.body) == (204, b"")
    # The pipeline adds to it what it adds to every response.
    given = dict([*answer.headers, *cors.headers(request)])
    assert len(given) == len(answer.headers) + len(cors.headers(request))
    assert given[b"access-control-allow-methods"] == b"GET, POST"
    allowed = set(given[b"access-control-allow-headers"].split(b", "))
    assert {b"authorization", b"content-type", b"last-event-id"} < allowed
    assert {b"triopoll-poll-secret", b"producer-id", b"stream-ttl"} < allowed
    assert len(allowed) == 15
    assert given[b"access-control-allow-credentials"] == b"true"


def test_the_preflight_of_another_origin_permits_nothing() -> None:
    """An unlisted origin gets an answer without the allowing headers."""
    asked = {"origin": OTHER, "access-control-request-method": "POST"}
    cors, request = Cors([APP]), ask("OPTIONS", headers=asked)
    answer = cors.preflight(request)
    assert answer is not None
    assert dict([*answer.headers, *cors.headers(request)]) == {b"vary": b"Origin"}


def test_other_requests_are_no_preflight() -> None:
    """An OPTIONS request that is no preflight goes on to its endpoint, or to a 405."""
    assert Cors([APP]).preflight(ask("OPTIONS", headers={"origin": APP})) is None
    asked = {"origin": APP, "access-control-request-method": "POST"}
    assert Cors([APP]).preflight(ask("GET", headers=asked)) is None


@pytest.mark.parametrize(
    "origins",
    [
        ["app.example"],
        [APP + "/"],
        [APP + "/path"],
        ["https://*.example"],
        ["null"],
        ["HTTPS://app.example"],
        ["*", APP],
    ],
)
def test_an_entry_that_would_never_match_is_refused(origins: list[str]) -> None:
    """An entry that is not an exact origin is refused at the start."""
    with pytest.raises(BadOrigin):
        Cors(origins)


@pytest.mark.parametrize(
    ("given", "trusted", "is_page"),
    [
        ({}, True, False),
        ({"origin": APP}, True, True),
        ({"origin": APP, "sec-fetch-site": "cross-site"}, True, True),
        ({"origin": OTHER}, False, True),
        ({"origin": "null"}, False, True),
        ({"origin": "http://[", "host": "["}, False, True),
        ({"origin": "https://poll.example", "host": "poll.example"}, True, True),
        ({"sec-fetch-site": "cross-site"}, False, True),
        ({"sec-fetch-site": "same-site"}, False, True),
        ({"sec-fetch-site": "same-origin"}, True, True),
        ({"sec-fetch-site": "none"}, True, False),
        (
            {
                "origin": "https://poll.example",
                "host": "poll.example",
                "sec-fetch-site": "cross-site",
            },
            False,
            True,
        ),
    ],
)
def test_which_page_is_behind_a_request(
    given: dict[str, str], trusted: bool, is_page: bool
) -> None:
    """Browsers send headers that identify the page; programs send none."""
    request = ask(headers=given)
    assert Cors([APP]).trusts_page(request) is trusted
    assert Cors([APP]).has_page(request) is is_page


def test_every_origin_may_read_and_none_is_trusted() -> None:
    """* lets every origin read, and accepts cookies from none."""
    request = ask(headers={"origin": OTHER, "host": "poll.example"})
    assert not Cors(["*"]).trusts_page(request)
    assert Cors(["*"]).may_read(request)
    assert Cors(["*"]).has_page(request)
