"""``completion``: what lets a shell complete the commands and options of a program."""

from __future__ import annotations

import argparse
from functools import partial

from ._common import NOT_STARTED, Commands, fail

__all__ = ["add_commands", "add_completion"]

_SHELLS = ("bash", "zsh", "fish")
_EXAMPLES = """\
examples:
  {0} completion bash > ~/.local/share/bash-completion/completions/{0}
  {0} completion zsh > ~/.zfunc/_{0}      with ~/.zfunc in fpath
  {0} completion fish > ~/.config/fish/completions/{0}.fish

It needs the extra "cli": pip install 'trioslock[cli]'.
"""


def add_commands(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add ``completion``."""
    add_completion(commands, "trioslock")


def add_completion(commands: Commands[argparse.ArgumentParser], program: str) -> None:
    """Add ``completion`` to the commands of a program.

    Args:
        commands: What the command is added to. What the program's parser reads has
            ``parser``, that parser.
        program: Its name.
    """
    parser = commands.add_parser(
        "completion",
        help="print a script that completes commands and options in a shell",
        description="Print a script that completes commands and options in a shell.",
        epilog=_EXAMPLES.format(program),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "shell", choices=_SHELLS, metavar="SHELL", help=", ".join(_SHELLS)
    )
    parser.set_defaults(run=partial(_run, program))


def _run(program: str, options: argparse.Namespace) -> int:
    try:
        import shtab  # noqa: PLC0415  # only with the extra
    except ImportError:
        fail("completion needs the extra cli: pip install 'trioslock[cli]'", program)
        return NOT_STARTED
    print(shtab.complete(options.parser, options.shell))
    return 0
