"""The access check: which requests it admits, and what ends an admitted wait."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection

import pytest
import trio
from tests.triopoll.access.asking import (
    KEY,
    NOW,
    access_control,
    ask,
    code_of,
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
from triopoll.api.refusals import format_v1
from triopoll.asgi.messages import Request, Response
from triopoll.pending import waiting_subject

OFFICE = "203.0.113.9"


def admitted(access_control: AccessControl, request: Request, *keys: str) -> Permit:
    permit = access_control.admit_subscriber(request, keys, format_v1)
    assert isinstance(permit, Permit), code_of(permit)
    return permit


async def test_nothing_configured_lets_everybody_wait() -> None:
    """Without configuration every wait is admitted and none is limited."""
    control = access_control()
    permit = admitted(control, ask(), "k")
    with permit:
        await trio.lowlevel.checkpoint()
    assert permit.ended is None
    assert permit.expires is None
    assert permit.allows("anything")
    assert OFFICE in repr(permit)


def test_nothing_configured_serves_publishing_on_this_machine() -> None:
    """Local programs may publish; the network, proxies and web pages may not."""
    control = access_control()
    host = {"host": "127.0.0.1:8000"}
    local = control.admit_publisher(
        ask("POST", peer="127.0.0.1", headers=host), ["k"], format_v1
    )
    assert local == AdmittedPublisher(None)
    assert control.admit_publisher(
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
        ("127.0.0.1", {"referer": "http://127.0.0.1:8000/", **host}),
        ("127.0.0.1", {"cf-connecting-ip": "127.0.0.1", **host}),
    ]:
        answer = control.admit_publisher(
            ask("POST", peer=peer, headers=headers), ["k"], format_v1
        )
        assert code_of(answer) == "not_local"
    assert control.refusals["not_local"] == 10


def test_an_address_in_a_header_is_never_local() -> None:
    """An address in a header never counts as this machine."""
    control = access_control(proxies=TrustedProxies(["10.0.0.1", "127.0.0.1"]))
    for peer in ("10.0.0.1", "127.0.0.1"):
        request = ask(peer=peer, headers={"x-forwarded-for": "127.0.0.1"})
        assert (
            code_of(control.admit_publisher(request, ["k"], format_v1)) == "not_local"
        )


def test_the_start_says_what_is_open() -> None:
    """The start logs which kinds of access are open."""
    assert len(access_control().startup_warnings()) == 2
    assert access_control(keyring=keyring(), tickets=reader()).startup_warnings() == []
    assert "shop" in repr(access_control(keyring=keyring()))


def test_a_publisher_shows_its_key() -> None:
    """With API keys configured, local programs need a key too."""
    control = access_control(keyring=keyring("shop:*"))
    request = ask("POST", bearer=KEY)
    assert control.admit_publisher(
        request, ["shop:1", "shop:2"], format_v1
    ) == AdmittedPublisher("shop")
    assert (
        code_of(control.admit_publisher(request, ["shop:1", "bank:1"], format_v1))
        == "forbidden"
    )
    assert (
        code_of(control.admit_publisher(ask("POST", bearer="x"), ["shop:1"], format_v1))
        == "key_invalid"
    )
    local = control.admit_publisher(
        ask("POST", peer="127.0.0.1"), ["shop:1"], format_v1
    )
    assert code_of(local) == "key_missing"
    assert isinstance(local, Response)
    assert local.status == 401
    assert header_of(local, b"www-authenticate") == b'Bearer realm="triopoll"'


def test_an_operator_shows_its_key() -> None:
    """It is another one than a publisher's; without any configured, none fits."""
    control = access_control(keyring=keyring(), admins=keyring("shop:*"))
    request = ask(bearer=KEY)
    admitted = AdmittedPublisher("shop")
    assert control.admit_admin(request, [], format_v1) == admitted
    assert control.admit_admin(request, ["shop:1"], format_v1) == admitted
    refused = control.admit_admin(request, ["bank:1"], format_v1)
    assert code_of(refused) == "forbidden"
    assert code_of(control.admit_admin(ask(), [], format_v1)) == "key_missing"
    closed = access_control(keyring=keyring())
    assert code_of(closed.admit_admin(request, [], format_v1)) == "key_invalid"


async def test_the_subject_is_known_within_the_block() -> None:
    """To the task and to those that it starts; not outside."""
    control = access_control(tickets=reader())
    permit = admitted(control, ask(bearer=ticket("*", subject="anna")), "k")
    with permit:
        assert waiting_subject.get() == "anna"
    assert waiting_subject.get() is None


def test_a_subscriber_shows_a_ticket() -> None:
    """A wait needs a ticket that covers each of its keys."""
    control = access_control(tickets=reader("revoked"), cookie="t")
    permit = admitted(control, ask(bearer=ticket("a", "b*", subject="ann")), "a", "b1")
    assert permit.subject == "ann"
    assert permit.expires == NOW + 60
    assert permit.allows("b2")
    assert not permit.allows("c")
    assert (
        code_of(control.admit_subscriber(ask(), ["a"], format_v1)) == "ticket_missing"
    )
    refused = control.admit_subscriber(ask(bearer=ticket("a")), ["a", "c"], format_v1)
    assert code_of(refused) == "forbidden"
    assert isinstance(refused, Response)
    assert refused.status == 403
    revoked = control.admit_subscriber(
        ask(bearer=ticket("a", id="revoked")), ["a"], format_v1
    )
    assert code_of(revoked) == "ticket_revoked"


def test_a_cookie_is_for_pages_of_this_host_and_of_the_list() -> None:
    """A cookie counts only from pages of this host and of listed origins."""
    control = access_control(
        tickets=reader(), cookie="t", cors=Cors(["https://app.example"])
    )
    cookie = {"cookie": f"t={ticket('a')}", "host": "poll.example"}
    admitted(control, ask(headers=cookie), "a")
    admitted(control, ask(headers={**cookie, "origin": "https://app.example"}), "a")
    admitted(control, ask(headers={**cookie, "origin": "https://poll.example"}), "a")
    for sign in ({"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}):
        answer = control.admit_subscriber(
            ask(headers={**cookie, **sign}), ["a"], format_v1
        )
        assert code_of(answer) == "origin"
    # Who could show it in another way knows it.
    foreign = {"origin": "https://evil.example", "cookie": f"t={ticket('a', id='1')}"}
    admitted(control, ask(headers=foreign, bearer=ticket("a", id="1")), "a")


async def test_a_ticket_that_ends_ends_the_wait(autojump_clock: object) -> None:
    """The wait ends when its ticket expires, with the code ticket_expired."""
    control = access_control(tickets=reader())
    permit = admitted(control, ask(bearer=ticket("a", lifetime=20)), "a")
    begin = trio.current_time()
    with permit:
        await trio.sleep_forever()
    assert trio.current_time() - begin == pytest.approx(20)
    assert permit.ended is not None
    assert code_of(permit.ended) == "ticket_expired"
    assert permit.ended.status == 401


async def test_what_came_in_time_is_served(autojump_clock: object) -> None:
    """A wait that is over before its ticket expires keeps its outcome."""
    control = access_control(tickets=reader())
    permit = admitted(control, ask(bearer=ticket("a", lifetime=20)), "a")
    with permit:
        await trio.sleep(19)
    assert permit.ended is None


async def test_what_is_in_hand_is_served(autojump_clock: object) -> None:
    """A wait that already has its outcome keeps it when its ticket expires."""
    control = access_control()
    old = admitted(control, ask(query={"session": "tab"}), "a")
    with old:
        admitted(control, ask(query={"session": "tab"}), "a")
    assert old.ended is None


async def test_a_client_that_leaves_is_a_cancellation(autojump_clock: object) -> None:
    """A cancellation passes through, and the wait no longer counts."""
    control = access_control(tickets=reader(), limits=Limits(waits_per_ip=1))
    permit = admitted(control, ask(bearer=ticket("a")), "a")
    with trio.move_on_after(5) as client, permit:
        await trio.sleep_forever()
    assert client.cancelled_caught
    assert permit.ended is None
    assert len(control.concurrency) == 0


async def test_a_failure_frees_the_permit() -> None:
    """The wait no longer counts, however its block was left."""
    control = access_control(limits=Limits(waits_per_ip=1))
    permit = admitted(control, ask(query={"session": "s"}), "a")
    with pytest.raises(KeyError):
        with permit:
            raise KeyError
    assert (len(control.concurrency), len(control.sessions)) == (0, 0)


async def test_the_newest_wait_of_a_session_is_the_one() -> None:
    """The older wait is answered at once; the newer one takes its place."""
    control = access_control(limits=Limits(waits_per_ip=1, waits_per_key=1))
    request = ask(query={"session": "tab"})
    old = admitted(control, request, "a")

    async def wait(permit: Permit) -> None:
        with permit:
            await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait, old)
        await trio.testing.wait_all_tasks_blocked()
        assert code_of(control.admit_subscriber(ask(), ["a"], format_v1)) == "limit"
        new = admitted(control, request, "a")
        nursery.start_soon(wait, new)
        await trio.testing.wait_all_tasks_blocked()
        assert old.ended is not None
        assert code_of(old.ended) == "replaced"
        assert old.ended.status == 409
        assert new.ended is None
        assert len(control.sessions) == 1
        nursery.cancel_scope.cancel()
    assert (len(control.concurrency), len(control.sessions)) == (0, 0)


async def test_a_session_is_its_owners() -> None:
    """A session belongs to the ticket's subject, or without one to the address."""
    tickets = access_control(tickets=reader())
    ann = ask(bearer=ticket("a", subject="ann"), query={"session": "s"})
    bob = ask(bearer=ticket("a", subject="bob"), query={"session": "s"})
    with admitted(tickets, ann, "a"), admitted(tickets, bob, "a"):
        assert len(tickets.sessions) == 2
    control = access_control()
    here, there = (ask(query={"session": "s"}, peer=peer) for peer in ("1::1", "2::2"))
    with admitted(control, here, "a"), admitted(control, there, "a"):
        assert len(control.sessions) == 2


@pytest.mark.parametrize("query", [b"session=a&session=b", b"session=" + b"x" * 129])
def test_a_session_is_one_short_name(query: bytes) -> None:
    """A session is one short name, which is kept while its wait lasts."""
    assert (
        code_of(access_control().admit_subscriber(ask(query=query), ["a"], format_v1))
        == "bad_request"
    )


@pytest.mark.parametrize(
    ("limit", "status"),
    [("waits_per_ip", 429), ("waits_per_subject", 429), ("waits_per_key", 503)],
)
async def test_a_full_limit_is_named(limit: str, status: int) -> None:
    """The answer names the limit and the time to wait; others are not affected."""
    control = access_control(tickets=reader(), limits=Limits(**{limit: 2}))
    request = ask(bearer=ticket("a", "b", subject="ann"))
    with admitted(control, request, "a"):
        with admitted(control, request, "a"):
            answer = control.admit_subscriber(request, ["a"], format_v1)
            assert isinstance(answer, Response)
            shape = json.loads(answer.body)
            assert (answer.status, shape["code"]) == (status, "limit")
            assert shape["limit"] == limit
            retry = header_of(answer, b"retry-after")
            assert retry is not None
            assert shape["retry_ms"] == int(retry) * 1000 > 0
            # Somebody else, somewhere else, for something else.
            stranger = ask(bearer=ticket("b", subject="bob"), peer="198.51.100.7")
            admitted(control, stranger, "b")
        admitted(control, request, "a")
    assert len(control.concurrency) == 0


async def test_the_size_of_an_address() -> None:
    """A URL that is too long is refused before it is parsed."""
    control = access_control(limits=Limits(url_bytes=100))
    assert control.check(ask(path="/p", query=b"x" * 98)) is None
    too_long = control.check(ask(path="/p", query=b"x" * 99))
    assert too_long is not None
    assert (too_long.status, too_long.code) == (414, "limit")
    assert control.refusals["limit"] == 1


async def test_the_rate_of_an_address(autojump_clock: object) -> None:
    """A burst, then 429 with the time to wait; this machine is not limited."""
    control = access_control(limits=Limits(requests_per_ip=1, burst_per_ip=3))
    assert [control.check(ask()) for _ in range(3)] == [None] * 3
    refusal = control.check(ask())
    assert refusal is not None
    assert refusal.status == 429
    assert refusal.limit == "requests_per_ip"
    assert header_of(format_v1(refusal), b"retry-after") == b"1"
    assert control.check(ask(peer="198.51.100.7")) is None
    assert not any(control.check(ask(peer="127.0.0.1")) for _ in range(10))
    await trio.sleep(1)
    assert control.check(ask()) is None


async def test_a_proxy_that_is_not_configured_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The log says once that all clients of an unknown proxy share one address."""
    request = ask(peer="127.0.0.1", headers={"x-forwarded-for": "198.51.100.7"})
    with caplog.at_level(logging.WARNING, "triopoll.access"):
        access_control(proxies=TrustedProxies(["127.0.0.1"])).check(request)
        assert not caplog.records
        control = access_control()
        control.check(ask(peer="127.0.0.1"))
        assert not caplog.records
        control.check(request)
        control.check(request)
    assert len(caplog.records) == 1
    assert "TRIOPOLL_TRUSTED_PROXIES" in caplog.text


def test_a_clock_of_its_own() -> None:
    """By default the access check uses the time of day."""
    expired = AccessControl(access_control(tickets=reader()).rules)
    assert abs(expired.clock() - NOW) < 10 * 365 * 86400


class Counted:
    """What counts a wait for presence."""

    def __init__(self) -> None:
        self.log: list[object] = []

    def attend(self, keys: Collection[str], subject: str | None) -> Counted:
        self.log.append((*keys, subject))
        return self

    def begin(self) -> None:
        self.log.append("begin")

    def follow(self, keys: Collection[str]) -> None:
        self.log.append(sorted(keys))

    def finish(self) -> None:
        self.log.append("finish")


async def test_an_admitted_wait_is_counted_for_presence() -> None:
    """With its ticket's subject, from begin to finish; a refused one is not."""
    control = access_control(tickets=reader())
    counted = Counted()
    control.attend = counted.attend
    request = ask(bearer=ticket("k", subject="ann"))
    with admitted(control, request, "k") as permit:
        assert permit.follow is not None
        permit.follow({"b", "a"})
    assert counted.log == [("k", "ann"), "begin", ["a", "b"], "finish"]
    refused = control.admit_subscriber(request, ["other"], format_v1)
    assert isinstance(refused, Response)
    assert len(counted.log) == 4


def test_without_presence_nothing_is_counted() -> None:
    permit = admitted(access_control(), ask(), "k")
    assert permit.follow is None
    permit.begin(lambda: None)
    permit.finish()
