"""The scripts that ``trioslock completion`` prints, in the shells."""

from __future__ import annotations

import subprocess
import sys

import pytest
from tests.services import find_tool

from trioslock.cli import main

pytestmark = pytest.mark.slow

# Each prints what it offers for "trioslock lo".
TRIALS = {
    "bash": """
source "$1"
COMP_WORDS=(trioslock lo) COMP_CWORD=1 COMP_LINE="trioslock lo" COMP_POINT=12
eval "set -- $(complete -p trioslock)"
while [ "$1" != -F ]; do shift; done
"$2" trioslock lo trioslock
printf '%s\\n' "${COMPREPLY[@]}"
""",
    "zsh": """
autoload -U compinit && compinit -D
fpath=(${1:h} $fpath)
compinit -D
print -r -- ${_comps[trioslock]:+lock}
""",
    "fish": """
source $argv[1]
complete -C "trioslock lo"
""",
}
FLAGS = {"bash": ["--norc", "-c"], "zsh": ["-fc"], "fish": ["--no-config", "-c"]}


@pytest.mark.parametrize("shell", TRIALS)
def test_the_shell_completes_a_command(
    shell: str, tmp_path: object, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["completion", shell]) == 0
    script = f"{tmp_path}/_trioslock"
    with open(script, "w") as file:
        file.write(capsys.readouterr().out)
    name = [] if shell == "fish" else [shell]
    words = [find_tool(shell), *FLAGS[shell], TRIALS[shell], *name, script]
    done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.split()[0] == "lock"
    assert not done.stderr


def test_without_the_extra_it_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main(["completion", "bash"]) == 69
    assert "trioslock[cli]" in capsys.readouterr().err
