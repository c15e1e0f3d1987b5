"""Draw the figures of the performance page from ``bench/results.json``.

    python bench/plot.py

Writes ``performance.svg`` and ``performance-growth.svg`` beside the page. The benches
write the figures, each of which names its bench: see ``all.py``. Needs matplotlib, from
the dependency group ``bench``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "bench" / "results.json"
PLOTS = ROOT / "docs" / "explanation"
# One for each quantity: what is measured, in the words of a title.
COLORS = {"KB": "#59a14f", "ms": "#e15759", "us": "#edc948", "LOCK": "#b07aa1"}


def draw(axes: Any, figure: dict[str, Any]) -> None:
    names, values = list(figure["bars"]), list(figure["bars"].values())
    unit = figure["title"].split()[0]
    bars = axes.barh(names, values, color=COLORS.get(unit, "#4c78a8"))
    small = max(values) < 100 and any(value % 1 for value in values)
    axes.bar_label(bars, fmt="{:,.1f}" if small else "{:,.0f}", padding=3, fontsize=8)
    axes.invert_yaxis()
    axes.set_title(f"{figure['title']}", fontsize=9, loc="left")
    axes.margins(x=0.18)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def save(name: str, figures: list[dict[str, Any]]) -> None:
    plot, rows = plt.subplots(
        len(figures),
        figsize=(7, 1.1 + sum(0.35 + 0.22 * len(each["bars"]) for each in figures)),
        height_ratios=[1 + len(each["bars"]) for each in figures],
        layout="constrained",
        squeeze=False,
    )
    for axes, figure in zip(rows[:, 0], figures, strict=True):
        draw(axes, figure)
    plot.savefig(PLOTS / name, metadata={"Date": None})


def main() -> None:
    benches = json.loads(RESULTS.read_text())["benches"]
    growth = benches.pop("growth", {}).get("figures", [])
    # The same results make the same file, byte for byte.
    mpl.rcParams["svg.hashsalt"] = "triopoll"
    save(
        "performance.svg",
        [figure for bench in benches.values() for figure in bench.get("figures", [])],
    )
    if growth:
        save("performance-growth.svg", growth)


if __name__ == "__main__":
    main()
