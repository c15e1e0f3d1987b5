"""``trioslock completion``: what lets a shell complete the commands and options."""

from __future__ import annotations

import argparse

from ._common import NOT_STARTED, Commands, fail

__all__ = ["add_commands"]

_SHELLS = ("bash", "zsh", "fish")
_EXAMPLES = """\
examples:
  trioslock completion bash > ~/.local/share/bash-completion/completions/trioslock
  trioslock completion zsh > ~/.zfunc/_trioslock      with ~/.zfunc in fpath
  trioslock completion fish > ~/.config/fish/completions/trioslock.fish

It needs the extra "cli": pip install 'trioslock[cli]'.
"""


def add_commands(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add ``completion``."""
    parser = commands.add_parser(
        "completion",
        help="print a script that completes commands and options in a shell",
        description="Print a script that completes commands and options in a shell.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "shell", choices=_SHELLS, metavar="SHELL", help=", ".join(_SHELLS)
    )
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    try:
        import shtab  # noqa: PLC0415  # only with the extra
    except ImportError:
        fail("completion needs the extra cli: pip install 'trioslock[cli]'")
        return NOT_STARTED
    print(shtab.complete(options.parser, options.shell))
    return 0
