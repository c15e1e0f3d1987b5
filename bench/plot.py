"""Draw the figures of the performance page from ``bench/results.json``.

    python bench/plot.py

Writes ``docs/explanation/performance.svg``. The results file is written by hand from
the output of the other benchmarks; each figure in it names its command. Needs
matplotlib, from the dependency group ``bench``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "bench" / "results.json"
PLOT = ROOT / "docs" / "explanation" / "performance.svg"


def draw(axes: Any, figure: dict[str, Any]) -> None:
    names, values = list(figure["bars"]), list(figure["bars"].values())
    bars = axes.barh(names, values, color=figure.get("color", "#4c78a8"))
    axes.bar_label(bars, fmt=figure.get("format", "{:,.0f}"), padding=3, fontsize=8)
    axes.invert_yaxis()
    axes.set_title(f"{figure['title']}", fontsize=9, loc="left")
    axes.margins(x=0.18)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def main() -> None:
    figures = json.loads(RESULTS.read_text())["figures"]
    # The same results make the same file, byte for byte.
    mpl.rcParams["svg.hashsalt"] = "triopoll"
    plot, rows = plt.subplots(
        len(figures), figsize=(7, 1.1 + 1.25 * len(figures)), layout="constrained"
    )
    for axes, figure in zip(rows, figures, strict=True):
        draw(axes, figure)
    plot.savefig(PLOT, metadata={"Date": None})


if __name__ == "__main__":
    main()
