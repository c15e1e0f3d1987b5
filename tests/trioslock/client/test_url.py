from __future__ import annotations

import pytest

from trioslock.client import Address, parse_url


@pytest.mark.parametrize(
    ("url", "addresses", "db"),
    [
        ("slock://localhost", [Address("localhost")], 0),
        ("slock://localhost:1/", [Address("localhost", 1)], 0),
        ("slock://10.0.0.1:65535/254", [Address("10.0.0.1", 65535)], 254),
        ("slock://[::1]:7/3", [Address("::1", 7)], 3),
        ("slock://[fe80::1%eth0]", [Address("fe80::1%eth0")], 0),
        (
            "slock://a:5658,b,[::1]:9/12",
            [Address("a"), Address("b"), Address("::1", 9)],
            12,
        ),
    ],
)
def test_what_a_url_says(url: str, addresses: list[Address], db: int) -> None:
    parsed = parse_url(url)
    assert parsed.addresses == tuple(addresses)
    assert parsed.db == db


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("redis://localhost", "starts with slock://"),
        ("", "starts with slock://"),
        ("slock://", "not a host"),
        ("slock://a,,b", "not a host"),
        ("slock://:5658", "not a host"),
        ("slock://user@host", "not a host"),
        ("slock://host:port", "not a host"),
        ("slock://host:0", "not 1 to 65535"),
        ("slock://host:65536", "not 1 to 65535"),
        ("slock://::1", "not a host"),
        ("slock://host/x", "not the number"),
        ("slock://host/1/2", "not the number"),
        ("slock://host/-1", "not the number"),
        ("slock://host/255", "0 to 254"),
        ("slock://host/0?x=1", "not the number"),
    ],
)
def test_what_is_wrong_with_a_url(url: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_url(url)


@pytest.mark.parametrize(
    "url",
    ["slock://u:hunter2@h", "slock://:hunter2@h:x", "redis://:hunter2@h", "hunter2@h"],
)
def test_no_password_in_errors(url: str) -> None:
    """What stands before an @ is left out: the URL may be meant for another server."""
    with pytest.raises(ValueError, match="@h") as caught:
        parse_url(url)
    assert "hunter2" not in str(caught.value)


def test_an_address_as_it_is_written() -> None:
    assert str(Address("host", 1)) == "host:1"
    assert str(Address("::1", 2)) == "[::1]:2"
