"""The entry point of the command ``triopoll``, which ends quietly at a Ctrl-C."""

from __future__ import annotations

import signal
import sys

__all__ = ["main"]


def main() -> int:
    """Import the command and run it.

    The imports take a second. A Ctrl-C meanwhile, or before the server handles signals
    by itself, ends the process by the signal, which shells show as 130. Python would
    print the traceback of a KeyboardInterrupt, and its exit code is 1, which says that
    a client was cut.

    SIGHUP asks `serve` to read files again. It is ignored until they have been read for
    the first time.

    Returns:
        The exit code.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if sys.argv[1:2] == ["serve"]:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    from .__main__ import main as run  # noqa: PLC0415  # behind the line above

    return run()
