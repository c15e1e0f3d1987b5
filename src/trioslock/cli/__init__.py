"""The commands of ``trioslock`` that are clients of a server."""

from ._hold import add_hold_options, hold

__all__ = ["add_hold_options", "hold"]
