"""A nursery for tasks that serve a body of code and end after it.

In a plain nursery a cancelled body and its helpers are cancelled together, so that a
release on the way out never gets its answer. Here the helpers run in a shielded scope
of their own, which is cancelled when the body has left.

Prior art: ``tricycle.open_service_nursery`` shields each task. Here one scope around
all of them is enough, since `open_server` alone starts tasks in it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import trio


@asynccontextmanager
async def open_service_nursery() -> AsyncGenerator[trio.Nursery]:
    """Open a nursery whose tasks are cancelled when the body has left, not before.

    Raises:
        BaseException: The body's error alone is raised as it is. If tasks failed
            too, all errors come in a group, as from any nursery.

    Cancellation:
        Reaches the body at once, the tasks when the body has left.
    """
    failure: Exception | None = None
    try:
        async with trio.open_nursery() as outer:
            nursery = await outer.start(_hold_open)
            try:
                yield nursery
            except Exception as error:  # noqa: BLE001 - it is raised below
                # Kept from the nursery, which would wrap it in a group.
                failure = error
            finally:
                nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        if failure is None:
            raise
        raise group.derive([*group.exceptions, failure]) from None
    if failure is not None:
        raise failure


async def _hold_open(*, task_status: trio.TaskStatus[trio.Nursery]) -> None:
    async with trio.open_nursery() as nursery:
        nursery.cancel_scope.shield = True
        task_status.started(nursery)
        await trio.sleep_forever()
