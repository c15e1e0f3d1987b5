"""Headers, cookies and parameters are read in one unambiguous way."""

import pytest
from tests.triopoll.access.asking import ask

from triopoll.access.credentials import shown_key, shown_ticket
from triopoll.access.headers import cookie_values, only_header, parameter_values
from triopoll.access.refusals import AccessRefused
from triopoll.asgi.messages import Request

COOKIE = "triopoll_ticket"


def test_cookies_of_a_name() -> None:
    """All cookies of the name are found, whatever surrounds them."""
    request = ask(headers={"cookie": f"a=1; {COOKIE}=x; b; {COOKIE}=y;{COOKIE}x=z"})
    assert cookie_values(request, COOKIE) == ["x", "y"]
    assert cookie_values(ask(), COOKIE) == []


def test_a_header_that_is_there_twice_is_refused() -> None:
    """A repeated header is refused: a proxy may have checked the other value."""
    request = ask()
    request.headers = [(b"authorization", b"Bearer a"), (b"authorization", b"Bearer a")]
    with pytest.raises(AccessRefused):
        only_header(request, b"authorization")
    assert only_header(ask(), b"authorization") is None


def test_parameters_are_decoded_once() -> None:
    """Names and values of parameters are percent-decoded exactly once."""
    request = ask(query=b"a=%2541&%61=b+c&x=1&a")
    assert parameter_values(request, "a") == ["%41", "b c", ""]
    assert parameter_values(request, "b") == []
    with pytest.raises(AccessRefused):
        parameter_values(ask(query=b"a=1&" * 600), "a")


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


def test_parameters_of_other_names_may_hold_anything() -> None:
    """A key that is not ASCII is no reason to refuse a request."""
    for query in (b"key=%C3%A9&a=1", b"key=%FF&a=1", b"key=\xff&a=1"):
        assert parameter_values(ask(query=query), "a") == ["1"]
    assert parameter_values(ask(query=b"a=%C3%A9"), "a") == ["é"]
