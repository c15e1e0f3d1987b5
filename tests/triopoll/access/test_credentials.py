"""Where a ticket or an API key is found, and when a request has none or two."""

import pytest
from tests.triopoll.access.asking import ask

from triopoll.access.credentials import shown_key, shown_ticket
from triopoll.access.refusals import AccessRefused
from triopoll.asgi.messages import Request

COOKIE = "triopoll_ticket"


def test_a_ticket_may_be_in_one_of_three_places() -> None:
    """A ticket is read from the header, the cookie or the parameter."""
    for request, by_cookie in [
        (ask(bearer="t"), False),
        (ask(query={"ticket": "t"}), False),
        (ask(headers={"cookie": f"{COOKIE}=t"}), True),
        (ask(headers={"cookie": f"{COOKIE}=t"}, bearer="t"), False),
        (ask(headers={"authorization": "bearer  t "}), False),
        (ask(query={"ticket": "t"}, headers={"authorization": "Basic eDp5"}), False),
        (ask(query={"ticket": ""}, headers={"cookie": f"{COOKIE}=t"}), True),
    ]:
        shown = shown_ticket(request, COOKIE)
        assert (shown.text, shown.only_by_cookie) == ("t", by_cookie)


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (ask(), "ticket_missing"),
        (ask(bearer=""), "ticket_missing"),
        (ask(headers={"authorization": "Basic eDp5"}), "ticket_missing"),
        (ask(headers={"cookie": "other=t"}), "ticket_missing"),
        (ask(bearer="a", query={"ticket": "b"}), "ticket_ambiguous"),
        (ask(query=b"ticket=a&ticket=b"), "ticket_ambiguous"),
        (ask(bearer="a", headers={"cookie": f"{COOKIE}=b"}), "ticket_ambiguous"),
        (ask(headers={"cookie": f"{COOKIE}=a; {COOKIE}=b"}), "ticket_ambiguous"),
    ],
)
def test_no_ticket_and_two_tickets(request_: Request, code: str) -> None:
    """A request with two different tickets is refused as ambiguous."""
    with pytest.raises(AccessRefused) as caught:
        shown_ticket(request_, COOKIE)
    assert caught.value.refusal.code == code


def test_a_cookie_counts_only_where_it_has_a_name() -> None:
    """An empty cookie name turns cookies off."""
    with pytest.raises(AccessRefused):
        shown_ticket(ask(headers={"cookie": "=t"}), "")


def test_an_api_key_is_a_header() -> None:
    """An API key is read from the header only, not from the URL or a cookie."""
    assert shown_key(ask(bearer="k")) == "k"
    for request in (ask(), ask(query={"key": "k", "ticket": "k"}), ask(bearer="")):
        with pytest.raises(AccessRefused) as caught:
            shown_key(request)
        assert caught.value.refusal.code == "key_missing"
