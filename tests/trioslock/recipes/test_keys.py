from __future__ import annotations

import pytest
from tests.trioslock.backends import open_backend

from trioslock import Flags, to_key
from trioslock.recipes._keys import derived_key, logged_at_once


def test_a_derived_key_is_the_same_for_a_name_and_its_bytes() -> None:
    """And another one for each recipe and name."""
    assert derived_key("k", "leader") == derived_key(to_key("k"), "leader")
    others = {derived_key("k", "leader"), derived_key("k", "x"), derived_key("j", "x")}
    assert len(others | {to_key("k")}) == 4


def test_the_empty_name_is_refused() -> None:
    with pytest.raises(ValueError, match="must not be empty"):
        derived_key("", "leader")


async def test_grants_are_logged_at_once_unless_the_database_says_otherwise() -> None:
    """Its other flags hold as well."""
    async with open_backend("embedded") as backend, backend.open_client() as client:
        quiet = Flags(log="never", publish=True)
        assert logged_at_once(client.db(1)) == Flags(log="at-once")
        assert logged_at_once(client.db(1, flags=quiet)) == quiet
        loud = Flags(publish=True)
        assert logged_at_once(client.db(1, flags=loud)).publish
