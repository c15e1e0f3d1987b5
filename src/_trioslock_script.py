"""The entry point of the command ``trioslock``, which ends quietly at a Ctrl-C.

It is no module of the package, because the package imports the whole client.
"""

from __future__ import annotations

import signal

__all__ = ["main"]


def main() -> int:
    """Import the command and run it.

    A Ctrl-C during the imports ends the process by the signal. Python would print the
    traceback of a KeyboardInterrupt.

    Returns:
        The exit code.
    """
    # Under nohup and in the background of a script it is ignored, and stays so.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from trioslock.cli import main as run  # noqa: PLC0415  # behind the line above

    return run()
