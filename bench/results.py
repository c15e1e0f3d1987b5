"""What the benchmarks print, and keep in ``results.json`` for the performance page.

A bench makes a `Table`, which prints each row as soon as it is complete, and hands its
tables, figures and notes to `save`. With ``--results FILE`` they replace those that the
bench has left in the file before. ``all.py`` writes the tables into the page, or what a
bench without a table has printed, and ``plot.py`` draws the figures.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Table:
    """Rows of text under a head; the first column is the row's name."""

    head: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)
    name_width: int = 20

    def __post_init__(self) -> None:
        self._print(self.head)

    def add(self, row: Sequence[str]) -> None:
        """Append a row, and print it."""
        self.rows.append(row)
        self._print(row)

    def _print(self, row: Sequence[str]) -> None:
        name, *cells = row
        widths = [max(11, len(title) + 2) for title in self.head[1:]]
        text = (cell.rjust(width) for cell, width in zip(cells, widths, strict=True))
        print(name.ljust(self.name_width) + "".join(text), flush=True)


@dataclass
class Figure:
    """Bars of one plot: a title that names the bench, and a value for each name."""

    title: str
    bars: Mapping[str, float]


def add_results_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--results``."""
    parser.add_argument(
        "--results", type=Path, metavar="FILE", help="where to keep the figures"
    )


def save(
    options: argparse.Namespace,
    bench: str,
    tables: Mapping[str, Table] | None = None,
    figures: Sequence[Figure] = (),
    *,
    notes: Mapping[str, str] | None = None,
) -> None:
    """Put the results of a bench into the file that was asked for, if one was."""
    if options.results is None:
        return
    stored: dict[str, Any] = {}
    if options.results.exists():
        stored = json.loads(options.results.read_text())
    benches = stored.setdefault("benches", {})
    benches[bench] = {
        "tables": {
            name: {"head": list(table.head), "rows": [list(row) for row in table.rows]}
            for name, table in (tables or {}).items()
        },
        "figures": [asdict(figure) for figure in figures],
        "notes": dict(notes or {}),
    }
    options.results.write_text(json.dumps(stored, indent=1) + "\n")
