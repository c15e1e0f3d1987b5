"""Our server as a program of its own, for clients that block."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tests.services import wait_for_line

START = "listening on "


@contextmanager
def serving(*options: str) -> Iterator[tuple[subprocess.Popen[str], tuple[str, int]]]:
    """Run ``trioslock serve`` on a free port; give its process and address.

    On the way out a process that still runs must end by SIGTERM, with code 0.
    """
    command = [sys.executable, "-m", "trioslock", "serve", "--port", "0", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    with process:
        try:
            host, _, port = wait_for_line(process, START)[len(START) :].rpartition(":")
            yield process, (host, int(port))
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                assert process.wait(10) == 0
        finally:
            process.kill()
