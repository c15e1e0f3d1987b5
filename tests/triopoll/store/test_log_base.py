"""Cursors: what is one, and what is none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triopoll.store import ALL, NEW, BadCursor, parse_cursor
from triopoll.store._log_base import new_epoch, new_tag


def test_a_cursor_is_read() -> None:
    """Epoch, place and tag."""
    text = "0123abcd.17.beef"
    cursor = parse_cursor(text)
    assert "0123abcd" in cursor
    assert 17 in cursor
    assert "beef" in cursor


@pytest.mark.parametrize(
    "text", ["", "17", "0123abcd.0.beef", "0123abcd.-1.beef", "0123ABCD.1.beef"]
)
def test_what_is_not_a_cursor(text: str) -> None:
    """It is refused with an error, and never guessed at."""
    with pytest.raises(BadCursor):
        parse_cursor(text)


@given(st.text())
def test_any_text_is_a_cursor_or_refused(text: str) -> None:
    """No other error."""
    try:
        parse_cursor(text)
    except BadCursor:
        return


def test_new_epochs_and_tags_are_parts_of_cursors() -> None:
    """And differ, at least mostly."""
    assert parse_cursor(f"{new_epoch()}.1.{new_tag()}")
    assert len({new_epoch() for _ in range(20)}) > 15
    assert NEW != ALL
