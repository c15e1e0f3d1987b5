"""The end of a process whose application does not end."""

from __future__ import annotations

import logging
import os
import threading

__all__ = ["exit_after"]

logger = logging.getLogger("triopoll.serving")


def exit_after(seconds: float, code: int) -> None:
    """End this process after some time, unless it has ended by itself before.

    An application may ignore its cancellation, wait for a backend that does not answer
    in a thread, or block the event loop. So this is a thread of its own, and it does
    not wait for others.

    Args:
        seconds: From now.
        code: The exit code.
    """
    timer = threading.Timer(seconds, _exit, (seconds, code))
    timer.daemon = True
    timer.start()


def _exit(seconds: float, code: int) -> None:
    logger.error(
        "the application has not shut down within %g s: the process ends without it",
        seconds,
    )
    logging.shutdown()
    os._exit(code)
