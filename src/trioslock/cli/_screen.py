"""A table on a terminal that is drawn again; needs the extra ``cli``."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table as RichTable
from rich.text import Text

from ._snapshot import Snapshot
from ._view import Table, View

__all__ = ["drawn", "open_screen"]

_WIDE = ("key", "lock id")
"""Columns that are cut when the terminal is narrow."""


@contextmanager
def open_screen(
    shape: Callable[[Snapshot, Snapshot | None], View],
) -> Generator[Callable[[Snapshot, Snapshot | None], None]]:
    """Use the whole terminal for the body of a ``with``.

    Args:
        shape: Makes lines and tables of a snapshot and the one before.

    Returns:
        What draws them.
    """
    # Colours follow NO_COLOR and the terminal.
    console = Console(highlight=False, markup=False)
    with Live(console=console, screen=True, auto_refresh=False) as live:

        def draw(now: Snapshot, before: Snapshot | None) -> None:
            failed = now.error is not None
            live.update(drawn(shape(now, before), failed=failed), refresh=True)

        yield draw


def drawn(view: View, *, failed: bool) -> Group:
    """Return lines and tables as rich draws them."""
    first, *lines = view.lines
    head = Text(first, style="bold red" if failed else "bold", no_wrap=True)
    head.overflow = "ellipsis"
    rest = [Text(line, no_wrap=True, overflow="ellipsis") for line in lines]
    foot = Text("q ends it", style="dim")
    return Group(head, *rest, *map(_table, view.tables), foot)


def _table(table: Table) -> RichTable:
    rich = RichTable(expand=True, box=None, header_style="bold cyan", pad_edge=False)
    for name in table.columns:
        wide = name in _WIDE
        rich.add_column(
            name,
            justify="left" if wide or not name else "right",
            ratio=1 if wide else None,
            no_wrap=True,
            overflow="ellipsis",
        )
    for row in table.rows:
        # Not strings: rich would read [brackets] in them as styles.
        rich.add_row(*(Text(cell) for cell in row))
    return rich
