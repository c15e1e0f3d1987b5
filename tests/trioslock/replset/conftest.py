"""The fixture that runs a real replica set."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.trioslock.replset.cluster import Cluster, open_cluster


@pytest.fixture
def slock_binary(pytestconfig: pytest.Config) -> str:
    """Path of a real slock server program."""
    path = pytestconfig.getoption("--slock-binary")
    if not path:
        pytest.skip("no slock program: give --slock-binary PATH")
    if not Path(path).is_file():
        raise pytest.UsageError(f"--slock-binary: {path!r} is no file")
    return str(path)


@pytest.fixture
async def cluster(slock_binary: str, tmp_path: Path) -> AsyncIterator[Cluster]:
    """Three real nodes with a leader, for one test."""
    async with open_cluster(slock_binary, tmp_path) as running:
        yield running
