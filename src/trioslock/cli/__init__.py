"""The command ``trioslock``: one module for each family of commands."""

from ._main import main, make_parser

__all__ = ["main", "make_parser"]
