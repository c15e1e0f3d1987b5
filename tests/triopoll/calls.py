"""Count the calls of our functions that one request takes.

Each entry into a function of `src` counts, and each resumption of a coroutine or a
generator: a checkpoint below five coroutines costs five entries when it returns.
"""

from __future__ import annotations

import sys
from collections import Counter
from contextvars import ContextVar
from pathlib import Path
from types import FrameType
from typing import Self

import trio

import triopoll

_SOURCE = f"{Path(triopoll.__file__).parents[1]}/"
_COUNTED: ContextVar[bool] = ContextVar("_COUNTED", default=False)
# The task in which other threads' calls of `trio.from_thread` and their like run.
_ENTRY_QUEUE = "<TrioToken.run_sync_soon task>"


class CallCounter:
    """Count calls while it is entered, in the tasks that are to be counted.

    Attributes:
        calls: How often each function was entered, by ``path:name``.
    """

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()

    def __enter__(self) -> Self:
        sys.setprofile(self._note)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def __str__(self) -> str:
        lines = (f"{count:4} {name}" for name, count in self.calls.most_common())
        return "\n".join((f"{self.total} calls", *lines))

    @property
    def total(self) -> int:
        return self.calls.total()

    def within(self, path: str) -> int:
        """Return how many calls were of functions below a path of `src`."""
        return sum(n for name, n in self.calls.items() if name.startswith(path))

    def _note(self, frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event != "call" or not code.co_filename.startswith(_SOURCE):
            return
        if _COUNTED.get() or trio.lowlevel.current_task().name == _ENTRY_QUEUE:
            path = code.co_filename.removeprefix(_SOURCE)
            self.calls[f"{path}:{code.co_qualname}"] += 1


def count_this_task() -> None:
    """Count this task from now on, and those that it starts."""
    _COUNTED.set(True)
