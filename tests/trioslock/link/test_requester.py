"""The interface of primitives: ids of attempts, and the session that implements it."""

from __future__ import annotations

import inspect

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioslock.link import ClientSession, Expectation, Requester
from trioslock.link._entries import ExpectedReply
from trioslock.link._requester import SEQUENCE_BYTES, attempt_of


@given(st.binary(min_size=16, max_size=16))
def test_all_ids_of_an_attempt_have_the_same_first_bytes(request_id: bytes) -> None:
    """The last two number its follow-ups, and are zero in the attempt's own id."""
    attempt = attempt_of(request_id)
    assert len(attempt) == 16
    assert attempt[:-SEQUENCE_BYTES] == request_id[:-SEQUENCE_BYTES]
    assert attempt[-SEQUENCE_BYTES:] == bytes(SEQUENCE_BYTES)
    assert attempt_of(attempt) == attempt


@pytest.mark.parametrize(
    ("protocol", "implementation"),
    [(Requester, ClientSession), (Expectation, ExpectedReply)],
)
def test_the_implementation_takes_the_same_arguments(
    protocol: type, implementation: type
) -> None:
    """Names, kinds and defaults, so that a primitive can be tried with either."""
    names = [name for name in vars(protocol) if not name.startswith("_")]
    assert len(names) > 1
    for name in names:
        wanted, found = getattr(protocol, name), getattr(implementation, name)
        if isinstance(wanted, property):
            assert isinstance(found, property), name
            continue
        assert [
            (each.name, each.kind, each.default)
            for each in inspect.signature(wanted).parameters.values()
        ] == [
            (each.name, each.kind, each.default)
            for each in inspect.signature(found).parameters.values()
        ], name
