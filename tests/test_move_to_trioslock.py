"""The page for those who come from another library: each call of ours works."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trio
from tests.services import wait_for_line
from trio.testing import MockClock

import trioslock
from trioslock import aio, sync
from trioslock.embedded import open_embedded

PAGE = Path(__file__).parents[1] / "docs" / "how-to" / "move-to-trioslock.md"
OURS = ("trio", "asyncio", "blocking")
# A call that only tries says by them that a key is free, or taken.
ANSWERS = (trioslock.NotHeld, trio.WouldBlock)


class Call(NamedTuple):
    """A cell of a table.

    Attributes:
        way: The column: trio, asyncio or blocking.
        code: What stands there.
    """

    way: str
    code: str


def calls() -> Iterator[Call]:
    head: list[str] = []
    for line in PAGE.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|"):
            head = []
        elif not head:
            head = cells
        elif cells[0] in OURS:
            yield Call(cells[0], cells[1])
        elif set(line) != {"|", "-"}:
            named = zip(head, cells, strict=True)
            yield from (Call(way, code) for way, code in named if way in OURS)


CALLS = sorted(set(calls()))


def of_way(way: str) -> list[str]:
    found = [call.code.strip("`") for call in CALLS if call.way == way]
    assert found
    return found


def function(code: str, prefix: str = "", **more: object) -> Any:
    """Return a function of a client, a handle and a grant that runs the code."""
    body = code + " ..." if code.endswith(":") else code
    source = (
        f"{prefix}def call(client, lock, grant):\n{textwrap.indent(body, '    ')}\n"
    )
    space: dict[str, Any] = {
        "trio": trio,
        "trioslock": trioslock,
        "asyncio": asyncio,
        **more,
    }
    exec(compile(source, code, "exec"), space)
    return space["call"]


def test_every_cell_is_code() -> None:
    """And the tables are found."""
    assert len(CALLS) > 40
    assert [one for one in CALLS if not re.fullmatch("`[^`]+`", one.code)] == []


@pytest.mark.parametrize("code", of_way("trio"))
async def test_with_trio(code: str, autojump_clock: MockClock) -> None:
    async with open_embedded() as client:
        grant = await client.lock("other").acquire()
        with suppress(*ANSWERS):
            await function(code, "async ")(client, client.lock("report"), grant)


@pytest.fixture
def url() -> Iterator[str]:
    """A server in another process."""
    command = [sys.executable, "-m", "trioslock", "serve", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        line = wait_for_line(process, "listening on ")
        yield f"slock://{line.removeprefix('listening on ')}"
        process.terminate()
        assert process.wait(10) == 0


def hurried(code: str) -> str:
    """Return the code with a time limit of a moment."""
    return code.replace("timeout(5)", "timeout(0.05)").replace("=5)", "=0.05)")


@pytest.mark.slow
def test_with_asyncio(url: str) -> None:
    """What stands under trio runs here too, but for the time limits."""
    codes = [
        code.replace("with trio.move_on_after", "async with asyncio.timeout")
        for code in (*of_way("trio"), *of_way("asyncio"))
    ]

    async def run() -> None:
        async with aio.open_client(url) as client:
            for code in map(hurried, codes):
                lock, grant = client.lock(code), await client.lock("other").acquire()
                with suppress(*ANSWERS, TimeoutError):
                    await function(code, "async ")(client, lock, grant)
                with suppress(*ANSWERS):
                    await grant.release()

    asyncio.run(run())


@pytest.mark.slow
def test_with_blocking_code(url: str) -> None:
    with sync.open_client(url) as client:
        for code in map(hurried, of_way("blocking")):
            lock, grant = client.lock(code), client.lock("other").acquire()
            with suppress(*ANSWERS, TimeoutError):
                function(code, sync=sync)(client, lock, grant)
            with suppress(*ANSWERS):
                grant.release()
