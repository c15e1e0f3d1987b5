"""Runs of programs of `bench/`, and the figures that they print."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

__all__ = ["figures_of", "run_bench"]

_BENCH = Path(__file__).parents[1] / "bench"


def run_bench(name: str, *options: str, limit: float = 150) -> tuple[int, str]:
    """Run a program; return its exit code, and what it printed.

    Raises:
        subprocess.TimeoutExpired: It did not end within the limit, in seconds.
    """
    command = [sys.executable, str(_BENCH / name), *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        output, _ = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        # On SIGINT it also ends its programs.
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=10)
        raise
    print(output)
    return process.returncode, output


def figures_of(output: str) -> dict[str, int]:
    """Return the counts by their names: each is a line of a number and the name."""
    words = (line.strip().split("  ", 1) for line in output.splitlines())
    numbers = {each[1]: each[0].replace(",", "") for each in words if each[1:]}
    return {name: int(text) for name, text in numbers.items() if text.isdecimal()}
