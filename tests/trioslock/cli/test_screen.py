"""The table that is drawn again: narrow terminals, and hostile text."""

from __future__ import annotations

import io
import sys

import pytest
from rich.console import Console

from trioslock.cli._screen import drawn, open_screen
from trioslock.cli._snapshot import Snapshot
from trioslock.cli._view import Table, View

VIEW = View(
    ["12:00:00 slock://" + "a" * 99, "[red]member[/red]"],
    [Table(("db", "key", "waiters"), [("0", "[bold]" + "k" * 99, "3")])],
)


@pytest.mark.parametrize("failed", [True, False])
def test_it_fits_into_80_columns_and_brackets_are_no_styles(failed: bool) -> None:
    stream = io.StringIO()
    Console(file=stream, width=80).print(drawn(VIEW, failed=failed))
    lines = stream.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[1] == "[red]member[/red]"
    assert "[bold]kkk" in lines[3]
    assert lines[3].rstrip().endswith("3")
    assert lines[-1] == "q ends it"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_it_draws_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with open_screen(lambda _now, _before: VIEW) as draw:
        draw(Snapshot(0.0, {}), None)
        assert "q ends it" in terminal.getvalue()
