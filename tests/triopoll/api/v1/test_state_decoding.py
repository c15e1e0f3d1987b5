"""The requests of `/v1/states`, read from bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from triopoll.api.v1 import state_decoding
from triopoll.api.v1.state_decoding import (
    read_ack,
    read_change,
    read_creation,
    read_state_wait,
)
from triopoll.api.validation import BadRequest
from triopoll.asgi.messages import Request

NAME = "a" * 22


def post(body: bytes, secret: str = NAME) -> Request:
    headers = [(b"triopoll-poll-secret", secret.encode())]
    request = Request("POST", "/v1/states", b"", headers)
    request.body = body
    return request


def test_there_is_a_test_for_each_reader() -> None:
    """What a new request is read by is tested here."""
    readers = {name for name in state_decoding.__all__ if name.startswith("read_")}
    assert readers - {"read_key"} == {
        *("read_ack", "read_change", "read_creation", "read_state_wait")
    }


@pytest.mark.parametrize(
    ("read", "body", "field"),
    [
        (read_creation, b"{", "JSON"),
        (read_creation, b"[]", "object"),
        (read_creation, b'{"ttl":0}', "ttl"),
        (read_creation, b'{"ttl":601}', "ttl"),
        (read_creation, b'{"ttl":"1"}', "ttl"),
        (read_creation, b'{"state":"a b"}', "state"),
        (read_creation, b'{"state":"expired"}', "state"),
        (read_creation, b'{"match":1}', "match"),
        (read_creation, b'{"moves":[]}', "moves"),
        (read_creation, b'{"confirm_within":0}', "confirm_within"),
        (read_creation, b'{"mtach":true}', "mtach"),
        (read_state_wait, b'{"version":0}', "key"),
        (read_state_wait, b'{"key":"%b"}' % NAME.encode(), "version"),
        (read_state_wait, b'{"key":"%b","version":-1}' % NAME.encode(), "version"),
        (
            read_state_wait,
            b'{"key":"%b","version":0,"timeout":-1}' % NAME.encode(),
            "timeout",
        ),
        (read_ack, b'{"key":"%b"}' % NAME.encode(), "version"),
        (read_change, b"{}", "state"),
        (read_change, b'{"state":"x","if_version":"1"}', "if_version"),
        (read_change, b'{"state":"x","final":1}', "final"),
        (read_change, b'{"state":"x","choice":"1"}', "choice"),
    ],
)
def test_what_is_wrong_is_named(
    read: Callable[..., Any], body: bytes, field: str
) -> None:
    """400 with the field that has to be corrected."""
    more = (None,) if read is read_creation else ()
    with pytest.raises(BadRequest, match=field):
        read(post(body), *more)


def test_what_is_right() -> None:
    """The defaults are those of the documentation."""
    created = read_creation(post(b"{}"), None)
    assert (created.state, created.ttl, created.numbers) == ("pending", 300, None)
    wait, digest = read_state_wait(post(b'{"key":"%b","version":0}' % NAME.encode()))
    assert (wait.key, wait.version) == (NAME, 0)
    _, other = read_ack(post(b'{"key":"%b","version":1}' % NAME.encode(), "b" * 22))
    assert digest != other
    assert len(digest) == len(other) == 32
