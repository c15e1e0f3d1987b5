"""The commands for the shell, added to the parser of ``triopoll``."""

from __future__ import annotations

import argparse

from trioslock.cli import Commands, add_completion

from .bench import add_bench
from .check import add_check
from .publish import add_publish
from .top import add_top
from .wait import add_wait

__all__ = ["add_commands"]


def add_commands(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add all commands of this package; ``run`` of the options executes one.

    Args:
        commands: What ``add_subparsers()`` has returned.
    """
    add_check(commands)
    add_publish(commands)
    add_wait(commands)
    add_top(commands)
    add_bench(commands)
    add_completion(commands, "triopoll")
