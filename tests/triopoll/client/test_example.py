"""The example of the client works as documented."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import trio
from tests.triopoll.inprocess import publish, served

EXAMPLE = Path(__file__).parents[3] / "examples" / "triopoll" / "follow_a_key.py"


@pytest.mark.slow
async def test_a_second_run_goes_on_behind_the_first(
    free_port: int, tmp_path: Path
) -> None:
    """It continues from the cursor that the first run stored."""
    async with served(free_port) as (app, running):
        await publish(app, "orders", *(b"%d" % n for n in range(5)))
        url, place = f"http://127.0.0.1:{running.port}", str(tmp_path / "cursor")
        printed: list[str] = []
        for count in ("3", "2"):
            command = [sys.executable, "-W", "error", str(EXAMPLE)]
            run = partial(
                trio.run_process,
                [*command, url, "orders", place, count],
                capture_stdout=True,
                stderr=subprocess.STDOUT,
            )
            with trio.fail_after(20):
                printed += (await run()).stdout.decode().split()
    assert printed == ["0", "1", "2", "3", "4"]
