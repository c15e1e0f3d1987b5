"""How long a wait may take, and what its response says of that."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from triopoll.api.v1.timing import Timing


def services(*, draining: bool = False) -> Any:
    return SimpleNamespace(
        settings=SimpleNamespace(v1_default_timeout=20.0),
        drain=SimpleNamespace(released=draining),
    )


@pytest.mark.parametrize(("given", "longest"), [(None, 20.0), (5.0, 5.0), (0.0, 0.0)])
async def test_it_is_as_asked_for_less_some(
    autojump_clock: MockClock, given: float | None, longest: float
) -> None:
    """Up to a tenth, at random; the default if nothing was asked for."""
    timing = Timing(services(), given)
    assert 0.9 * longest <= timing.seconds <= longest
    await trio.sleep(2)
    assert timing.fields(True) == {
        "retry_ms": 0,
        "wait": round(timing.seconds, 3),
        "waited": 2.0,
    }


@pytest.mark.parametrize(("draining", "code"), [(False, "timeout"), (True, "draining")])
async def test_why_it_is_over(draining: bool, code: str) -> None:
    """Clients of a server that stops come back at different times."""
    timing = Timing(services(draining=draining), 1.0)
    found = timing.fields(False)
    assert found["code"] == code
    assert 0 <= found["retry_ms"] <= (2000 if draining else 0)
    assert "code" not in timing.fields(True)
