"""The marks of many logs or states."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import pytest

from triopoll.store._heads import read_heads
from triopoll.store._names import ClusterLayout, Layout, Names, ServerLayout
from triopoll.store._pipeliner import Pipeliner

LAYOUTS: list[Layout] = [ServerLayout("p:"), ClusterLayout("p:", "")]


class Echo:
    """Answers each command with its own words."""

    def __init__(self) -> None:
        self.commands: list[Any] = []

    async def call_many(self, commands: Sequence[Any]) -> list[Any]:
        self.commands += commands
        return [[word.encode() for word in command[1:]] for command in commands]


@pytest.mark.parametrize("layout", LAYOUTS, ids=["server", "cluster"])
@pytest.mark.parametrize("count", [0, 1, 600])
async def test_each_key_has_its_mark(layout: Layout, count: int) -> None:
    """In the order of the keys, with at most 256 of one place in a command."""
    keys = [f"k{n}" for n in range(count)]
    echo = Echo()

    def command(names: Names, some: Sequence[str]) -> tuple[str, ...]:
        assert {layout.of_log(key) for key in some} == {names}
        return ("HEADS", *(f"{key}!" for key in some))

    marks = await read_heads(cast("Pipeliner", echo), layout, keys, command)
    assert marks == [f"{key}!" for key in keys]
    assert all(len(each) <= 1 + 256 for each in echo.commands)
