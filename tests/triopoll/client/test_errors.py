"""The exceptions of the client."""

from __future__ import annotations

import pytest
from trio import BrokenResourceError

from triopoll.client import MessagesLost, PollClientError, Refused, Unreachable
from triopoll.client._errors import (
    ConnectFailed,
    ConnectionBroken,
    ServerBusy,
    TransientError,
    UnexpectedResponse,
    reason_of,
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
    assert UnexpectedResponse("x", 3.5).retry == 3.5
    assert UnexpectedResponse("x").retry == 0


def test_an_error_without_text_has_the_text_of_its_cause() -> None:
    """As trio raises it when TLS fails; without a cause it is its type."""
    silent = BrokenResourceError()
    assert reason_of(silent) == "BrokenResourceError"
    silent.__cause__ = OSError("certificate verify failed")
    assert reason_of(silent) == "certificate verify failed"
    assert reason_of(OSError("refused")) == "refused"
