"""The page for those who come from another library: each call of ours works."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trio
from trio.testing import MockClock

import trioslock
from trioslock.embedded import open_embedded

PAGE = Path(__file__).parents[1] / "docs" / "how-to" / "move-to-trioslock.md"
OURS = ("trio",)
# A call that only tries says by them that a key is free, or taken.
ANSWERS = (trioslock.NotHeld, trio.WouldBlock)


class Call(NamedTuple):
    """A cell of a table.

    Attributes:
        way: The column.
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
        elif set(line) != {"|", "-"}:
            named = zip(head, cells, strict=True)
            yield from (Call(way, code) for way, code in named if way in OURS)


CALLS = sorted(set(calls()))


def of_way(way: str) -> list[str]:
    found = [call.code.strip("`") for call in CALLS if call.way == way]
    assert found
    return found


def function(code: str) -> Any:
    """Return a function of a client, a handle and a grant that runs the code."""
    body = code + " ..." if code.endswith(":") else code
    source = f"async def call(client, lock, grant):\n{textwrap.indent(body, '    ')}\n"
    space: dict[str, Any] = {
        "trio": trio,
        "trioslock": trioslock,
    }
    exec(compile(source, code, "exec"), space)
    return space["call"]


def test_every_cell_is_code() -> None:
    """And the tables are found."""
    assert len(CALLS) > 20
    assert [one for one in CALLS if not re.fullmatch("`[^`]+`", one.code)] == []


@pytest.mark.parametrize("code", of_way("trio"))
async def test_with_trio(code: str, autojump_clock: MockClock) -> None:
    async with open_embedded() as client:
        grant = await client.lock("other").acquire()
        with suppress(*ANSWERS):
            await function(code)(client, client.lock("report"), grant)
