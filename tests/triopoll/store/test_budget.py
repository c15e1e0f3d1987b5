"""The number of bytes in memory is limited."""

import pytest

from triopoll.store import StoreError
from triopoll.store._budget import Budget


def test_what_is_taken_can_be_freed() -> None:
    """Up to the limit, and not beyond."""
    budget = Budget(10)
    budget.take(10)
    assert not budget.has(1)
    with pytest.raises(StoreError, match="full"):
        budget.take(1)
    assert budget.taken == 10
    budget.free(4)
    budget.take(3)
    assert budget.taken == 9
    assert budget.has(1)
