"""What a check has found, and how it is shown."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal, TypeAlias

from trioslock.cli import show_json, shown

__all__ = [
    "Finding",
    "clock_finding",
    "lines_of",
    "right",
    "show_finding",
    "warning",
    "wrong",
]

Verdict: TypeAlias = Literal["right", "warning", "wrong"]

_COLOURS: Mapping[Verdict, str] = {"right": "32", "warning": "33", "wrong": "31"}
_WIDTH = 9


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check.

    Attributes:
        check: What was checked, such as ``redis policy``.
        verdict: How it is. ``warning``: the service works, and something may surprise.
        text: What was found; a sentence without its full stop.
        advice: What to do; "" if it is right.
    """

    check: str
    verdict: Verdict
    text: str
    advice: str = ""


def right(check: str, text: str) -> Finding:
    """Return that something is as it should be."""
    return Finding(check, "right", text)


def warning(check: str, text: str, advice: str) -> Finding:
    """Return that something works, and may surprise."""
    return Finding(check, "warning", text, advice)


def wrong(check: str, text: str, advice: str) -> Finding:
    """Return that something does not work, or loses messages."""
    return Finding(check, "wrong", text, advice)


def clock_finding(check: str, ahead: float, allowed: float) -> Finding:
    """Return what a difference between two clocks means."""
    text = f"{abs(ahead):.1f} s {'ahead of' if ahead > 0 else 'behind'} this machine"
    if abs(ahead) <= allowed:
        return right(check, text)
    return warning(check, text, "synchronise both clocks (chrony, systemd-timesyncd)")


def show_finding(finding: Finding, *, as_json: bool) -> None:
    """Print a finding: an object of JSON, or one or two lines."""
    if as_json:
        show_json(asdict(finding))
        return
    is_coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    for line in lines_of(finding, is_coloured=is_coloured):
        print(line, flush=True)


def lines_of(finding: Finding, *, is_coloured: bool = False) -> list[str]:
    """Return the lines of a finding; what servers have said is escaped in them."""
    verdict = f"{finding.verdict:<{_WIDTH}}"
    if is_coloured:
        verdict = f"\x1b[{_COLOURS[finding.verdict]}m{verdict}\x1b[0m"
    lines = [f"{verdict}{finding.check}: {shown(finding.text)}"]
    if finding.advice:
        lines.append(f"{'':<{_WIDTH}}-> {shown(finding.advice)}")
    return lines
