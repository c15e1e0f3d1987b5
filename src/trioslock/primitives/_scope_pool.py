"""Cancel scopes that are used again, at a fraction of the usual cost.

A body that a loss cancels needs a scope of its own, and to make, enter and leave a
``trio.CancelScope`` takes as long as to send a LOCK and its UNLOCK. Most of that is
for deadlines, which the scope of a session lease has none of, and for objects that are
thrown away at once. So a scope that nothing has happened to is kept and entered again.
What is done for it is what trio's ``__enter__`` and ``__exit__`` do in that case: the
task's place in the tree of scopes moves one down, and one up again.

Everything else goes through trio's own methods: a scope with a deadline, one that was
cancelled or is left out of order or with an error.

This module stands on parts of trio that are not public. The rules for that, see
decisions 0017 and 0035:

- Scopes are used again with the exact versions in `TESTED_TRIO` only. With any other
  trio, `enter_scope` and `leave_scope` are trio's ``__enter__`` and ``__exit__``.
- ``TRIOSLOCK_REUSE_SCOPES=0`` in the environment turns it off for every version.
- A version is added after ``pytest tests/trioslock/primitives tests/trioslock/client``
  has passed with it; these tests run with the reuse on and off.
- To remove it: delete this module, and let `Grant.enter` and `Grant.__aexit__` make,
  enter and leave a ``trio.CancelScope``. Nothing else knows of it.
"""

from __future__ import annotations

import os
from math import inf
from types import TracebackType
from typing import Any

import trio
from trio.lowlevel import current_task, enable_ki_protection

TESTED_TRIO = frozenset({"0.31.0", "0.32.0", "0.33.0", "0.34.0", "0.35.0"})
"""Versions whose scopes and tasks are built as is assumed here."""

SWITCH = "TRIOSLOCK_REUSE_SCOPES"
"""Environment variable: 0 to leave every scope to trio."""

# As many as tasks may leave their bodies in one pass of the scheduler: 1 MB.
_MAX_FREE = 1024
_reuse = trio.__version__ in TESTED_TRIO and os.environ.get(SWITCH) != "0"
# Scopes that were entered and left, each still with its CancelStatus. Several runs in
# several threads share it: append and pop of a list are atomic.
_free: list[Any] = []


@enable_ki_protection
def enter_scope() -> trio.CancelScope:
    """Return a scope without a deadline, entered in the calling task."""
    try:
        scope = _free.pop()
    except IndexError:
        # Always so with the reuse off.
        return trio.CancelScope().__enter__()
    # The parts of trio used from here on are not public, so no type is known.
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
    """Leave a scope. It may be entered by another task from now on.

    Returns:
        Whether nothing of ``exc`` is left, as ``__exit__`` does.
    """
    if not _reuse:
        return scope.__exit__(exc_type, exc, traceback)
    kept: Any = scope
    task: Any = current_task()
    status = kept._cancel_status
    # Only a scope that is as it was when it was made may be entered again.
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


def abandon_scope(scope: trio.CancelScope) -> None:
    """Take the task that has entered a scope out of it; another task has left it.

    Trio has no such call. With a trio that is not tested, or with the reuse off, the
    task stays in the scope, and trio reports that when the task leaves an outer one.
    """
    if not _reuse:
        return
    left: Any = scope
    status = left._cancel_status
    for task in tuple(status._tasks):
        task._activate_cancel_status(status._parent)
    for child in tuple(status._children):
        child.parent = status._parent
    status.close()
    with left._might_change_registered_deadline():
        left._cancel_status = None
