from __future__ import annotations

import pytest

from trioslock import to_key
from trioslock.recipes._keys import derived_key


def test_a_derived_key_is_the_same_for_a_name_and_its_bytes() -> None:
    """And another one for each recipe and name."""
    assert derived_key("k", "leader") == derived_key(to_key("k"), "leader")
    others = {derived_key("k", "leader"), derived_key("k", "x"), derived_key("j", "x")}
    assert len(others | {to_key("k")}) == 4


def test_the_empty_name_is_refused() -> None:
    with pytest.raises(ValueError, match="must not be empty"):
        derived_key("", "leader")
