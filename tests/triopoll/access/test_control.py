"""The access check: which requests it admits, and what ends an admitted wait."""

from __future__ import annotations

import json
import logging

import pytest
import trio
from tests.triopoll.access.asking import (
    KEY,
    NOW,
    ask,
    code_of,
    gate,
    header_of,
    keyring,
    reader,
    ticket,
)

from triopoll.access import (
    AccessControl,
    AdmittedPublisher,
    Limits,
    Permit,
)
from triopoll.access.cors import Cors
from triopoll.access.proxies import TrustedProxies
from triopoll.api.refusals import format_openresty, format_poll, format_v1
from triopoll.asgi.messages import Request, Response

OFFICE = "203.0.113.9"


def admitted(gate: AccessControl, request: Request, *keys: str) -> Permit:
    admission = gate.admit_subscriber(request, keys, format_v1)
    assert isinstance(admission, Permit), code_of(admission)
    return admission


async def test_nothing_configured_lets_everybody_wait() -> None:
    """Without configuration every wait is admitted and none is limited."""
    door = gate()
    admission = admitted(door, ask(), "k")
    with admission:
        await trio.lowlevel.checkpoint()
    assert admission.ended is None
    assert admission.expires is None
    assert admission.allows("anything")
    assert OFFICE in repr(admission)


def test_nothing_configured_serves_publishing_on_this_machine() -> None:
    """Local programs may publish; the network, proxies and web pages may not."""
    door = gate()
    host = {"host": "127.0.0.1:8000"}
    local = door.admit_publisher(
        ask("POST", peer="127.0.0.1", headers=host), ["k"], format_v1
    )
    assert local == AdmittedPublisher(None)
    assert door.admit_publisher(
        ask("POST", peer="127.0.0.1"), ["k"], format_v1
    ) == AdmittedPublisher(None)
    for peer, headers in [
        (OFFICE, host),
        (OFFICE, {"x-forwarded-for": "127.0.0.1"}),
        (None, host),
        ("127.0.0.1", {"x-forwarded-for": "127.0.0.1"}),
        ("127.0.0.1", {"host": "evil.example:8000"}),
        ("127.0.0.1", {"origin": "http://evil.example"}),
        ("127.0.0.1", {"origin": "http://127.0.0.1:8000", **host}),
        ("127.0.0.1", {"sec-fetch-site": "cross-site", **host}),
    ]:
        answer = door.admit_publisher(
            ask("POST", peer=peer, headers=headers), ["k"], format_v1
        )
        assert code_of(answer) == "not_local"
    assert door.refusals["not_local"] == 8


def test_an_address_in_a_header_is_never_local() -> None:
    """An address in a header never counts as this machine."""
    door = gate(proxies=TrustedProxies(["10.0.0.1", "127.0.0.1"]))
    for peer in ("10.0.0.1", "127.0.0.1"):
        request = ask(peer=peer, headers={"x-forwarded-for": "127.0.0.1"})
        assert code_of(door.admit_publisher(request, ["k"], format_v1)) == "not_local"


def test_the_start_says_what_is_open() -> None:
    """The start logs which kinds of access are open."""
    assert len(gate().startup_warnings()) == 2
    assert gate(keyring=keyring(), tickets=reader()).startup_warnings() == []
    assert "shop" in repr(gate(keyring=keyring()))


def test_a_publisher_shows_its_key() -> None:
    """With API keys configured, local programs need a key too."""
    door = gate(keyring=keyring("shop:*"))
    request = ask("POST", bearer=KEY)
    assert door.admit_publisher(
        request, ["shop:1", "shop:2"], format_v1
    ) == AdmittedPublisher("shop")
    assert (
        code_of(door.admit_publisher(request, ["shop:1", "bank:1"], format_v1))
        == "forbidden"
    )
    assert (
        code_of(door.admit_publisher(ask("POST", bearer="x"), ["shop:1"], format_v1))
        == "key_invalid"
    )
    local = door.admit_publisher(ask("POST", peer="127.0.0.1"), ["shop:1"], format_v1)
    assert code_of(local) == "key_missing"
    assert isinstance(local, Response)
    assert local.status == 401
    assert header_of(local, b"www-authenticate") == b'Bearer realm="triopoll"'


def test_a_subscriber_shows_a_ticket() -> None:
    """A wait needs a ticket that covers each of its keys."""
    door = gate(tickets=reader("revoked"), cookie="t")
    admission = admitted(door, ask(bearer=ticket("a", "b*", subject="ann")), "a", "b1")
    assert admission.subject == "ann"
    assert admission.expires == NOW + 60
    assert admission.allows("b2")
    assert not admission.allows("c")
    assert code_of(door.admit_subscriber(ask(), ["a"], format_v1)) == "ticket_missing"
    refused = door.admit_subscriber(ask(bearer=ticket("a")), ["a", "c"], format_v1)
    assert code_of(refused) == "forbidden"
    assert isinstance(refused, Response)
    assert refused.status == 403
    revoked = door.admit_subscriber(
        ask(bearer=ticket("a", id="revoked")), ["a"], format_v1
    )
    assert code_of(revoked) == "ticket_revoked"


def test_a_cookie_is_for_pages_of_this_host_and_of_the_list() -> None:
    """A cookie counts only from pages of this host and of listed origins."""
    door = gate(tickets=reader(), cookie="t", cors=Cors(["https://app.example"]))
    cookie = {"cookie": f"t={ticket('a')}", "host": "poll.example"}
    admitted(door, ask(headers=cookie), "a")
    admitted(door, ask(headers={**cookie, "origin": "https://app.example"}), "a")
    admitted(door, ask(headers={**cookie, "origin": "https://poll.example"}), "a")
    for sign in ({"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}):
        answer = door.admit_subscriber(
            ask(headers={**cookie, **sign}), ["a"], format_v1
        )
        assert code_of(answer) == "origin"
    # Who could show it in another way knows it.
    foreign = {"origin": "https://evil.example", "cookie": f"t={ticket('a', id='1')}"}
    admitted(door, ask(headers=foreign, bearer=ticket("a", id="1")), "a")


async def test_a_ticket_that_ends_ends_the_wait(autojump_clock: object) -> None:
    """The wait ends when its ticket expires, with the code ticket_expired."""
    door = gate(tickets=reader())
    admission = admitted(door, ask(bearer=ticket("a", lifetime=20)), "a")
    begin = trio.current_time()
    with admission:
        await trio.sleep_forever()
    assert trio.current_time() - begin == pytest.approx(20)
    assert admission.ended is not None
    assert code_of(admission.ended) == "ticket_expired"
    assert admission.ended.status == 401


async def test_what_came_in_time_is_served(autojump_clock: object) -> None:
    """A wait that is over before its ticket expires keeps its outcome."""
    door = gate(tickets=reader())
    admission = admitted(door, ask(bearer=ticket("a", lifetime=20)), "a")
    with admission:
        await trio.sleep(19)
    assert admission.ended is None


async def test_what_is_in_hand_is_served(autojump_clock: object) -> None:
    """A wait that already has its outcome keeps it when its ticket expires."""
    door = gate()
    old = admitted(door, ask(query={"session": "tab"}), "a")
    with old:
        admitted(door, ask(query={"session": "tab"}), "a")
    assert old.ended is None


async def test_a_client_that_leaves_is_a_cancellation(autojump_clock: object) -> None:
    """A cancellation passes through, and the wait no longer counts."""
    door = gate(tickets=reader(), limits=Limits(waits_per_ip=1))
    admission = admitted(door, ask(bearer=ticket("a")), "a")
    with trio.move_on_after(5) as client, admission:
        await trio.sleep_forever()
    assert client.cancelled_caught
    assert admission.ended is None
    assert len(door.concurrency) == 0


async def test_a_failure_frees_the_permit() -> None:
    """The wait no longer counts, however its block was left."""
    door = gate(limits=Limits(waits_per_ip=1))
    admission = admitted(door, ask(query={"session": "s"}), "a")
    with pytest.raises(KeyError):
        with admission:
            raise KeyError
    assert (len(door.concurrency), len(door.sessions)) == (0, 0)


async def test_the_newest_wait_of_a_session_is_the_one() -> None:
    """The older wait is answered at once; the newer one takes its place."""
    door = gate(limits=Limits(waits_per_ip=1, waits_per_key=1))
    request = ask(query={"session": "tab"})
    old = admitted(door, request, "a")

    async def wait(admission: Permit) -> None:
        with admission:
            await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait, old)
        await trio.testing.wait_all_tasks_blocked()
        assert code_of(door.admit_subscriber(ask(), ["a"], format_v1)) == "limit"
        new = admitted(door, request, "a")
        nursery.start_soon(wait, new)
        await trio.testing.wait_all_tasks_blocked()
        assert old.ended is not None
        assert code_of(old.ended) == "replaced"
        assert old.ended.status == 409
        assert new.ended is None
        assert len(door.sessions) == 1
        nursery.cancel_scope.cancel()
    assert (len(door.concurrency), len(door.sessions)) == (0, 0)


async def test_a_session_is_its_owners() -> None:
    """A session belongs to the ticket's subject, or without one to the address."""
    tickets = gate(tickets=reader())
    ann = ask(bearer=ticket("a", subject="ann"), query={"session": "s"})
    bob = ask(bearer=ticket("a", subject="bob"), query={"session": "s"})
    with admitted(tickets, ann, "a"), admitted(tickets, bob, "a"):
        assert len(tickets.sessions) == 2
    door = gate()
    here, there = (ask(query={"session": "s"}, peer=peer) for peer in ("1::1", "2::2"))
    with admitted(door, here, "a"), admitted(door, there, "a"):
        assert len(door.sessions) == 2


@pytest.mark.parametrize("query", [b"session=a&session=b", b"session=" + b"x" * 129])
def test_a_session_is_one_short_name(query: bytes) -> None:
    """A session is one short name, which is kept while its wait lasts."""
    assert (
        code_of(gate().admit_subscriber(ask(query=query), ["a"], format_v1))
        == "bad_request"
    )


@pytest.mark.parametrize(
    ("limit", "status"),
    [("waits_per_ip", 429), ("waits_per_subject", 429), ("waits_per_key", 503)],
)
async def test_a_full_limit_is_named(limit: str, status: int) -> None:
    """The answer names the limit and the time to wait; others are not affected."""
    door = gate(tickets=reader(), limits=Limits(**{limit: 2}))
    request = ask(bearer=ticket("a", "b", subject="ann"))
    with admitted(door, request, "a"):
        with admitted(door, request, "a"):
            answer = door.admit_subscriber(request, ["a"], format_v1)
            assert isinstance(answer, Response)
            shape = json.loads(answer.body)
            assert (answer.status, shape["code"]) == (status, "limit")
            assert shape["limit"] == limit
            retry = header_of(answer, b"retry-after")
            assert retry is not None
            assert shape["retry_ms"] == int(retry) * 1000 > 0
            # Somebody else, somewhere else, for something else.
            stranger = ask(bearer=ticket("b", subject="bob"), peer="198.51.100.7")
            admitted(door, stranger, "b")
        admitted(door, request, "a")
    assert len(door.concurrency) == 0


def test_the_other_shapes() -> None:
    """The compatible endpoints answer in their own formats, with the headers."""
    door = gate(limits=Limits(waits_per_ip=1), keyring=keyring())
    with admitted(door, ask(), "a"):
        poll = door.admit_subscriber(ask(), ["a"], format_poll)
    assert isinstance(poll, Response)
    assert poll.status == 200
    assert json.loads(poll.body) == {
        "err_code": 429,
        "err_message": "the limit waits_per_ip has been reached",
        "limit": "waits_per_ip",
    }
    assert header_of(poll, b"retry-after") is not None
    assert header_of(poll, b"cache-control") == b"no-store"
    manage = door.admit_publisher(ask("POST"), ["a"], format_openresty)
    assert isinstance(manage, Response)
    assert manage.status == 200
    shape = {"code": 401, "msg": "an API key is needed", "data": None}
    assert json.loads(manage.body) == shape
    denied = gate(tickets=reader()).admit_subscriber(ask(), ["a"], format_poll)
    assert isinstance(denied, Response)
    assert json.loads(denied.body)["err_code"] == 401


async def test_the_size_of_an_address() -> None:
    """A URL that is too long is refused before it is parsed."""
    door = gate(limits=Limits(url_bytes=100))
    assert door.check(ask(path="/p", query=b"x" * 98)) is None
    too_long = door.check(ask(path="/p", query=b"x" * 99))
    assert too_long is not None
    assert (too_long.status, too_long.code) == (414, "limit")
    assert door.refusals["limit"] == 1


async def test_the_rate_of_an_address(autojump_clock: object) -> None:
    """A burst, then 429 with the time to wait; this machine is not limited."""
    door = gate(limits=Limits(requests_per_ip=1, burst_per_ip=3))
    assert [door.check(ask()) for _ in range(3)] == [None] * 3
    refusal = door.check(ask())
    assert refusal is not None
    assert refusal.status == 429
    assert refusal.limit == "requests_per_ip"
    assert header_of(format_v1(refusal), b"retry-after") == b"1"
    assert door.check(ask(peer="198.51.100.7")) is None
    assert not any(door.check(ask(peer="127.0.0.1")) for _ in range(10))
    await trio.sleep(1)
    assert door.check(ask()) is None


async def test_a_proxy_that_is_not_configured_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The log says once that all clients of an unknown proxy share one address."""
    request = ask(peer="127.0.0.1", headers={"x-forwarded-for": "198.51.100.7"})
    with caplog.at_level(logging.WARNING, "triopoll.access"):
        gate(proxies=TrustedProxies(["127.0.0.1"])).check(request)
        assert not caplog.records
        door = gate()
        door.check(ask(peer="127.0.0.1"))
        assert not caplog.records
        door.check(request)
        door.check(request)
    assert len(caplog.records) == 1
    assert "TRIOPOLL_TRUSTED_PROXIES" in caplog.text


def test_a_clock_of_its_own() -> None:
    """By default the access check uses the time of day."""
    expired = AccessControl(gate(tickets=reader()).rules)
    assert abs(expired.clock() - NOW) < 10 * 365 * 86400
