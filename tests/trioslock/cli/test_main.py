"""The choice of a command, its help, and what is imported for it."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version

import pytest

import trioslock
from trioslock.cli import main

HEAVY = ("trioslock.engine", "trioslock.server", "trioslock.storage", "rich")


@pytest.mark.parametrize(("words", "reason"), [([], "COMMAND"), (["fly"], "fly")])
def test_an_unknown_command_is_refused_with_a_sentence(
    words: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Code 2, and the usage."""
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert "usage: trioslock" in error
    assert reason in error


def test_the_version_is_that_of_the_distribution(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Of the package and of the command; other unknown names stay errors."""
    assert trioslock.__version__ == version("trioslock")
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"trioslock {version('trioslock')}\n"
    with pytest.raises(AttributeError, match="no attribute 'versoin'"):
        _ = trioslock.versoin  # type: ignore[attr-defined]


@pytest.mark.slow
def test_what_is_heavy_is_imported_by_its_command_only() -> None:
    """So the other commands start sooner."""
    text = "import sys, trioslock.cli as c; c.make_parser(); print(*sys.modules)"
    words = [sys.executable, "-c", text]
    modules = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert "trioslock.cli" in modules.split()
    assert not set(HEAVY) & set(modules.split())
