"""How a finding is shown: in lines, in colours, as JSON."""

from __future__ import annotations

import json
import os
import pty
import sys

import pytest

from triopoll.cli.finding import (
    Finding,
    clock_finding,
    lines_of,
    right,
    show_finding,
    warning,
    wrong,
)

WRONG = wrong("redis", "it is full", "give it memory")


def test_lines() -> None:
    """What to do stands below what is wrong."""
    assert lines_of(right("files", "many")) == ["right    files: many"]
    assert lines_of(WRONG) == [
        "wrong    redis: it is full",
        "         -> give it memory",
    ]


def test_what_servers_say_is_escaped() -> None:
    """A version that moves the cursor does not."""
    (line, _) = lines_of(warning("redis", "Redis \x1b[2J", "a\nb"))
    assert line == "warning  redis: Redis \\x1b[2J"


def test_colours() -> None:
    """Only the verdict has one."""
    (line,) = lines_of(right("files", "many"), is_coloured=True)
    assert line == "\x1b[32mright    \x1b[0mfiles: many"


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_a_terminal_has_colours(
    monkeypatch: pytest.MonkeyPatch, no_color: str, coloured: bool
) -> None:
    """Unless NO_COLOR is set."""
    monkeypatch.setenv("NO_COLOR", no_color)
    leader, follower = pty.openpty()
    with os.fdopen(follower, "w") as terminal:
        monkeypatch.setattr(sys, "stdout", terminal)
        show_finding(WRONG, as_json=False)
        shown = os.read(leader, 1000).decode()
    os.close(leader)
    assert ("\x1b[31m" in shown) is coloured


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    """One object a line, with all fields."""
    show_finding(WRONG, as_json=True)
    assert Finding(**json.loads(capsys.readouterr().out)) == WRONG


@pytest.mark.parametrize(
    ("ahead", "verdict", "words"),
    [
        (0.5, "right", "0.5 s ahead of"),
        (-2.5, "warning", "2.5 s behind"),
        (90.0, "warning", "90.0 s ahead of"),
    ],
)
def test_clocks(ahead: float, verdict: str, words: str) -> None:
    """Both directions count."""
    finding = clock_finding("redis clock", ahead, 2.0)
    assert finding.verdict == verdict
    assert words in finding.text
