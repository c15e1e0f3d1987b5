"""The pages and the help say what the parser does."""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from tests.trioslock.cli.commands import TRIOSLOCK

from trioslock.cli import make_parser
from trioslock.testing import SlockServer

DOCS = Path(__file__).parents[3] / "docs"
REFERENCE = (DOCS / "reference" / "command-line.md").read_text()
HOW_TO = (DOCS / "how-to" / "use-the-command-line.md").read_text()
HELD = ("lock", "semaphore", "leader")


def parsers() -> dict[str, argparse.ArgumentParser]:
    (commands,) = (
        action
        for action in make_parser()._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    return dict(commands.choices)


@pytest.mark.parametrize("name", parsers())
def test_each_option_is_in_the_reference(name: str) -> None:
    """And each command."""
    options = [o for a in parsers()[name]._actions for o in a.option_strings]
    missing = {o for o in options if f"`{o}`" not in REFERENCE} - {"-h", "--help"}
    assert not missing
    assert f"`{name}`" in REFERENCE


def test_each_option_of_the_reference_exists() -> None:
    """Those in the first column of its tables."""
    known = {
        o for p in parsers().values() for a in p._actions for o in a.option_strings
    }
    rows = re.findall(r"^\| (`-[^|]*) \|", REFERENCE, re.MULTILINE)
    named = {option for row in rows for option in re.findall(r"`(-[^`]*)`", row)}
    assert len(named) > 8
    assert named <= known


def test_the_lines_of_the_how_to_are_accepted() -> None:
    blocks = "\n".join(
        re.findall(r"^```text\n(.*?)^```", HOW_TO, re.MULTILINE | re.DOTALL)
    )
    lines = re.findall(rf"trioslock ((?:{'|'.join(HELD)}) .*)", blocks)
    assert len(lines) >= 5
    for line in lines:
        assert make_parser().parse_args(shlex.split(line)).command


@pytest.mark.slow
@pytest.mark.parametrize("name", HELD)
def test_the_example_of_the_help_runs(
    name: str, slock: SlockServer, tmp_path: Path
) -> None:
    epilog = parsers()[name].epilog
    assert epilog is not None
    words = shlex.split(epilog.removeprefix("example: "))
    script = tmp_path / words[-1]
    script.write_text("#!/bin/sh\necho ran with $TRIOSLOCK_URL\n")
    script.chmod(0o755)
    line = shlex.join([*TRIOSLOCK, *words[1:]])
    assert words[0] == "trioslock"
    done = subprocess.run(
        ["sh", "-c", f"TRIOSLOCK_URL={slock.url}; export TRIOSLOCK_URL; {line}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, f"ran with {slock.url}\n")
