"""More than a thousand invalid requests are all refused."""

from __future__ import annotations

import pytest
from tests.triopoll.access.asking import NOW, ask, code_of
from tests.triopoll.access.variants import (
    Variant,
    bad_publishers,
    bad_subscribers,
    configured_keys,
    configured_tickets,
    good_publishers,
    good_subscribers,
)

from triopoll.access import AccessControl, AdmittedPublisher, Permit, Rules
from triopoll.api.refusals import format_v1
from triopoll.asgi.messages import Request

# Which of them a variant gets is for the unit tests to say.
REFUSALS = {
    "bad_request",
    "forbidden",
    "key_invalid",
    "key_missing",
    "origin",
    "ticket_ambiguous",
    "ticket_expired",
    "ticket_invalid",
    "ticket_missing",
    "ticket_not_yet_valid",
    "ticket_revoked",
}


@pytest.fixture
def access_control() -> AccessControl:
    rules = Rules(
        keyring=configured_keys(),
        tickets=configured_tickets(),
        cookie="triopoll_ticket",
    )
    return AccessControl(rules, clock=lambda: NOW)


def request_of(variant: Variant) -> Request:
    # From this machine, which opens nothing once keys and tickets are asked for.
    request = ask(query=variant.query.encode(), peer="127.0.0.1")
    request.headers = [
        (name.encode(), value.encode("latin-1")) for name, value in variant.headers
    ]
    return request


def test_there_are_more_than_a_thousand() -> None:
    """All variants are different."""
    variants = [*bad_subscribers(NOW), *bad_publishers(NOW)]
    different = {(v.key, v.query, v.headers) for v in variants}
    assert len(different) > 1000


def test_the_good_ones_get_in(access_control: AccessControl) -> None:
    """The valid variants are admitted, so that the next test proves something."""
    for variant in good_subscribers(NOW):
        permit = access_control.admit_subscriber(
            request_of(variant), [variant.key], format_v1
        )
        assert isinstance(permit, Permit), variant
    for variant in good_publishers():
        publisher = access_control.admit_publisher(
            request_of(variant), [variant.key], format_v1
        )
        assert publisher == AdmittedPublisher("tenant1"), variant


@pytest.mark.slow
def test_none_of_them_gets_to_wait(access_control: AccessControl) -> None:
    """Each variant is refused with a documented code."""
    for variant in bad_subscribers(NOW):
        answer = access_control.admit_subscriber(
            request_of(variant), [variant.key], format_v1
        )
        assert not isinstance(answer, Permit), variant
        assert code_of(answer) in REFUSALS, variant


@pytest.mark.slow
def test_none_of_them_gets_to_publish(access_control: AccessControl) -> None:
    """The same for publishers; a ticket does not help."""
    for variant in (*bad_publishers(NOW), *good_subscribers(NOW)):
        answer = access_control.admit_publisher(
            request_of(variant), [variant.key], format_v1
        )
        assert not isinstance(answer, AdmittedPublisher), variant
        assert code_of(answer) in REFUSALS, variant


def test_one_bad_key_among_good_ones_is_enough(access_control: AccessControl) -> None:
    """A request with one key that is not covered is refused as a whole."""
    for variant in good_publishers():
        answer = access_control.admit_publisher(
            request_of(variant), [variant.key, "tenant2/x"], format_v1
        )
        assert code_of(answer) == "forbidden"
    for variant in good_subscribers(NOW):
        answer = access_control.admit_subscriber(
            request_of(variant), ["tenant2/x", variant.key], format_v1
        )
        assert code_of(answer) == "forbidden"
