"""The choice of the next transport, from the results so far."""

from __future__ import annotations

from triopoll.client._transport_choice import TransportChoice, TransportKind

POLL, WEBSOCKET = TransportKind.POLL, TransportKind.WEBSOCKET


def cut(
    choice: TransportChoice, times: int, *, now: float = 0.0, lasted: float = 9.0
) -> None:
    for _ in range(times):
        choice.poll_cut(now, lasted)


def test_polls_come_first_and_one_cut_is_no_evidence() -> None:
    """Two cuts are no evidence either; a served poll resets the count."""
    choice = TransportChoice(25)
    cut(choice, 2)
    assert choice.transport(0) is POLL
    choice.poll_served()
    cut(choice, 2)
    assert choice.transport(0) is POLL


def test_three_cuts_in_a_row_bring_the_websocket() -> None:
    """Polls are not shortened while a websocket can be tried."""
    choice = TransportChoice(25)
    cut(choice, 3)
    assert choice.transport(0) is WEBSOCKET
    assert choice.wait(0) == 25


def test_a_websocket_that_never_spoke_is_left_alone_for_longer_each_time() -> None:
    """An open websocket without frames has failed; meanwhile polls get shorter."""
    choice, now, blocks = TransportChoice(25), 0.0, []
    cut(choice, 3)
    for _ in range(9):
        assert choice.transport(now) is WEBSOCKET
        choice.websocket_ended(now, None)
        ended = now
        while choice.transport(now) is POLL:
            now += 1
        blocks.append(now - ended)
    assert blocks == [30, 60, 120, 240, 480, 960, 1920, 3600, 3600]


def test_polls_are_shortened_where_no_websocket_is_to_be_had() -> None:
    """Polls get shorter than the cut, at least a second, and long again later."""
    choice = TransportChoice(25)
    cut(choice, 3)
    choice.websocket_ended(0, None)
    assert choice.wait(0) == 25
    cut(choice, 1, lasted=10)
    assert choice.wait(1) == 7
    cut(choice, 1, lasted=0)
    assert choice.wait(1) == 1
    assert choice.wait(3601) == 25
    cut(choice, 1, lasted=100)
    assert choice.wait(1) == 25


def test_a_websocket_that_is_cut_right_after_it_spoke_has_not_worked() -> None:
    """Some middleboxes allow the upgrade and cut the connection a moment later."""
    choice = TransportChoice(25)
    cut(choice, 3)
    choice.websocket_ended(0, 0.5)
    assert choice.transport(0) is POLL
    cut(choice, 9)
    assert choice.transport(29) is POLL


def test_a_websocket_that_worked_is_followed_by_a_poll_on_probation() -> None:
    """After a working websocket a poll is tried; one cut brings the websocket back."""
    choice = TransportChoice(25)
    cut(choice, 3)
    choice.websocket_ended(600, 600)
    assert choice.transport(600) is POLL
    cut(choice, 1, now=609)
    assert choice.transport(609) is WEBSOCKET
    choice.websocket_ended(1200, 590)
    choice.poll_served()
    cut(choice, 1)
    assert choice.transport(1200) is POLL


def test_a_single_transport_is_used_whatever_happens() -> None:
    """If only one transport is allowed, it is used always."""
    choice = TransportChoice(25, frozenset({POLL}))
    cut(choice, 9, lasted=20)
    assert choice.transport(0) is POLL
    assert choice.wait(0) == 14
    choice = TransportChoice(25, frozenset({WEBSOCKET}))
    choice.websocket_ended(0, None)
    assert choice.transport(0) is WEBSOCKET
