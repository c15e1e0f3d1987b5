"""The ids of pending messages."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triopoll.api.v1.pending_ids import pending_id, read_pending_id
from triopoll.api.validation import BadRequest

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)


@given(TEXTS, TEXTS)
def test_it_is_read_back(key: str, name: str) -> None:
    """Whatever characters they have; it has none that a path changes."""
    text = pending_id(key, name)
    assert read_pending_id(text) == (key, name)
    assert text.replace(".", "").replace("-", "").replace("_", "").isalnum()


def test_it_is_documented() -> None:
    """A publisher can write it."""
    assert pending_id("orders.17", "remind") == "b3JkZXJzLjE3.cmVtaW5k"


@pytest.mark.parametrize(
    "text", ["", "a", ".", "aw.", ".aw", "aw.aw.aw", "aw=.aw", "ax.aw", "a.aw", "_w.aw"]
)
def test_other_texts(text: str) -> None:
    """They are refused: not base64url, with spare bits, not UTF-8, too few parts."""
    with pytest.raises(BadRequest, match="not that of a pending message"):
        read_pending_id(text)
