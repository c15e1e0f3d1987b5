"""The commands of ``triopoll`` beside ``serve``, ``key`` and ``ticket``."""

from .commands import add_commands

__all__ = ["add_commands"]
