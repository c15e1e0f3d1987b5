"""The commands that the program has, as its help and its completion show them."""

from __future__ import annotations

import re

import pytest
from tests.triopoll.cli.conftest import Command

from triopoll.__main__ import main


@pytest.mark.parametrize("name", ["check", "publish", "wait", "bench", "completion"])
def test_each_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Plain text, with examples and one default for an option."""
    with pytest.raises(SystemExit) as caught:
        main([name, "--help"])
    assert caught.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "examples: triopoll" in text
    assert "`" not in text
    assert "None" not in text
    assert not re.search(r"\(default: [^)]*\) \(default", text)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str, command: Command) -> None:
    """For the name of this program, with the options of its commands."""
    code, script, _ = command("completion", shell)
    assert code == 0
    assert "trioslock" not in script
    assert "drain-window" in script
