"""The exceptions of the client."""

from __future__ import annotations

import pytest

from triopoll.client import MessagesLost, PollClientError, Refused, Unreachable
from triopoll.client._errors import (
    ConnectFailed,
    ConnectionBroken,
    ServerBusy,
    TransientError,
    UnexpectedResponse,
)


def test_users_need_one_base() -> None:
    """Of what is raised to them; internal errors are not among that."""
    for raised in (MessagesLost, Refused, Unreachable):
        assert issubclass(raised, PollClientError)
    for internal in (ConnectFailed, ConnectionBroken, ServerBusy, UnexpectedResponse):
        assert issubclass(internal, TransientError)
        assert not issubclass(internal, PollClientError)


def test_messages_name_what_happened() -> None:
    """With the status, the code, the key and the number."""
    refused = Refused(403, "forbidden", "the key is not granted")
    assert str(refused) == "the key is not granted (forbidden, HTTP 403)"
    assert (refused.status, refused.code) == (403, "forbidden")
    assert str(MessagesLost("k", 3)) == "3 messages of 'k' are gone"
    unknown = MessagesLost("k", None)
    assert str(unknown) == "an unknown number of messages of 'k' are gone"
    assert (unknown.key, unknown.lost) == ("k", None)


@pytest.mark.parametrize("answering", [False, True])
def test_what_a_retry_needs_to_know(answering: bool) -> None:
    """Whether a response had begun, and when the server wants to be called."""
    assert ConnectionBroken("x", answering=answering).answering is answering
    assert ServerBusy("x", 2.5).retry == 2.5
