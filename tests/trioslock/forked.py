"""A server process that starts in some milliseconds, to be killed very often.

It is forked from a process that has imported everything already.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection as Pipe

from trioslock.cli import main

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload([__name__])


def _serve(output: Pipe, arguments: list[str]) -> None:
    os.dup2(output.fileno(), 1)
    sys.stdout = os.fdopen(1, "w")
    sys.exit(main(["serve", "--port", "0", *arguments]))


@contextmanager
def serving(*arguments: str) -> Iterator[tuple[int, int]]:
    """Run ``trioslock serve``; yield its port and process id, and kill it."""
    reader, writer = FORKS.Pipe(duplex=False)
    process = FORKS.Process(target=_serve, args=(writer, list(arguments)))
    process.start()
    writer.close()
    try:
        with os.fdopen(os.dup(reader.fileno())) as lines:
            line = lines.readline()
        assert line.startswith("listening on "), line
        assert process.pid is not None
        yield int(line.rpartition(":")[2]), process.pid
    finally:
        reader.close()
        process.kill()
        process.join()
        process.close()
