"""What the tests of the use cases share; see `tests.triopoll.logrig`."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.triopoll.logrig import LogRig, open_log_rig

from triopoll.core import log_notifier


@pytest.fixture
async def rig() -> AsyncIterator[LogRig]:
    async with open_log_rig() as rig:
        yield rig


@pytest.fixture
def no_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing be found but by a wake."""
    monkeypatch.setattr(log_notifier, "_SWEEP", 1e6)
