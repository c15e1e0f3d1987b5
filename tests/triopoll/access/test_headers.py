"""Headers, cookies and parameters are read in one unambiguous way."""

import pytest
from tests.triopoll.access.asking import ask

from triopoll.access.headers import cookie_values, only_header, parameter_values
from triopoll.access.refusals import AccessRefused

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


def test_parameters_of_other_names_may_hold_anything() -> None:
    """A key that is not ASCII is no reason to refuse a request."""
    for query in (b"key=%C3%A9&a=1", b"key=%FF&a=1", b"key=\xff&a=1"):
        assert parameter_values(ask(query=query), "a") == ["1"]
    assert parameter_values(ask(query=b"a=%C3%A9"), "a") == ["é"]
