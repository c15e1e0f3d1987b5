"""Count the functions of this project that one operation calls.

    python bench/calls.py lock [--names]

A count is the same on every machine, so a test can hold it (``tests/test_calls.py``);
a time is not. Counted are the "call" events of ``sys.setprofile`` on this thread whose
function is in ``src/``: each call of a function, and each time that a coroutine or a
generator goes on. The first runs are not counted: they fill caches.

``lock`` is one uncontended ``async with client.lock(key): pass`` over loopback TCP, on
the client's side, its reader and writer included. The server is a process of its own.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from types import FrameType

import trio

import trioslock

SOURCE = str(Path(trioslock.__file__).parents[1])
WARM_UP = 50
RUNS = 101

Names = Counter[str]
"""How often each function was called, by ``module.qualified_name``."""


async def count_calls(operation: Callable[[], Awaitable[object]]) -> list[Names]:
    """Return the calls of each counted run of an operation, one after the other.

    What its background tasks do between two runs counts for the later one.
    """
    runs: list[Names] = []

    def note(frame: FrameType, event: str, _arg: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(SOURCE):
            runs[-1][f"{frame.f_globals['__name__']}.{code.co_qualname}"] += 1

    for _ in range(WARM_UP):
        await operation()
    sys.setprofile(note)
    try:
        for _ in range(RUNS):
            runs.append(Counter())
            await operation()
    finally:
        sys.setprofile(None)
    return runs


def typical(runs: list[Names]) -> Names:
    """Return the run whose number of calls is the median."""
    middle = median(run.total() for run in runs)
    return next(run for run in runs if run.total() == middle)


@contextmanager
def serving() -> Iterator[int]:
    """Run ``trioslock serve`` in a process of its own; yield its port."""
    command = [sys.executable, "-m", "trioslock", "serve", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield int(server.stdout.readline().rpartition(":")[2])
        finally:
            server.terminate()


def count_lock() -> Names:
    """Return the calls of one lock that is taken and released."""

    async def main(port: int) -> list[Names]:
        async with trioslock.open_client(f"slock://127.0.0.1:{port}") as client:

            async def lock() -> None:
                async with client.lock("bench"):
                    pass

            return await count_calls(lock)

    with serving() as port:
        return typical(trio.run(main, port))


COMMANDS: dict[str, Callable[[], Names]] = {"lock": count_lock}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("operation", choices=COMMANDS)
    parser.add_argument("--names", action="store_true", help="print each function")
    options = parser.parse_args()
    calls = COMMANDS[options.operation]()
    if options.names:
        for name, number in calls.most_common():
            print(f"{number:5}  {name}")
    print(f"{options.operation}: {calls.total()} calls")


if __name__ == "__main__":
    main()
