"""The cancel scope of a body, at a fraction of the usual cost.

A body that a loss cancels needs a scope of its own, and to make, enter and leave a
``trio.CancelScope`` takes as long as to send a LOCK and its UNLOCK. Most of that is
for deadlines, which the scope of a session lease has none of, and for making what is
thrown away at once. So a scope that nothing has happened to is kept here and used
again, and what is done for it is what trio's ``__enter__`` and ``__exit__`` come down
to then: the task's place in the tree of scopes moves one down, and one up again.

Everything else is left to trio's own methods: a scope with a deadline, one that was
cancelled or is left out of turn or with an error, and any trio that has not been
looked at. See decision 0017.
"""

from __future__ import annotations

from math import inf
from types import TracebackType
from typing import Any

import trio
from trio.lowlevel import current_task, enable_ki_protection

KNOWN_TRIO = ("0.31.", "0.32.", "0.33.", "0.34.", "0.35.")
"""Versions whose scopes and tasks are built as is assumed here."""

_MAX_FREE = 256
_short = trio.__version__.startswith(KNOWN_TRIO)
_free: list[Any] = []
"""Scopes that were entered and left, each still with its ``CancelStatus``."""


@enable_ki_protection
def enter_scope() -> trio.CancelScope:
    """Return a scope without a deadline, entered in the calling task."""
    # The parts of trio used here are not public, so no type is known.
    try:
        scope = _free.pop()
    except IndexError:
        return trio.CancelScope().__enter__()
    task: Any = current_task()
    status, outer = scope._cancel_status, task._cancel_status
    status._parent = outer
    outer._children.add(status)
    outer._tasks.remove(task)
    status._tasks.add(task)
    task._cancel_status = status
    if outer.effectively_cancelled:
        status.recalculate()
    return scope  # type: ignore[no-any-return]


@enable_ki_protection
def leave_scope(
    scope: trio.CancelScope,
    exc_type: type[BaseException] | None,
    exc: BaseException | None,
    traceback: TracebackType | None,
) -> bool:
    """Leave a scope, which may belong to somebody else from now on.

    Returns:
        Whether nothing of ``exc`` is left, as ``__exit__`` does.
    """
    if not _short:
        return scope.__exit__(exc_type, exc, traceback)
    kept: Any = scope
    task: Any = current_task()
    status = kept._cancel_status
    if (
        exc is not None
        or status is not task._cancel_status
        or status.effectively_cancelled
        or status._children
        or len(status._tasks) > 1
        or kept._deadline != inf
        or len(_free) >= _MAX_FREE
    ):
        return scope.__exit__(exc_type, exc, traceback)
    outer = status._parent
    status._tasks.remove(task)
    outer._tasks.add(task)
    task._cancel_status = outer
    outer._children.remove(status)
    status._parent = None
    _free.append(kept)
    return True
