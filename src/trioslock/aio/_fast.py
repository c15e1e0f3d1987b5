"""Acquire and release without a trio task.

A trio task for a call costs three times what a LOCK and its UNLOCK cost. So the common
case, a lease that lasts as long as the connection and no data, sends its command from
the asyncio task, and the answer ends a future. What the answers mean is decided by the
same code as in trio (`BegunAttempt`, `Grant.end_body`).
"""

from __future__ import annotations

import asyncio
from functools import partial

import outcome

from ..primitives import Acquirable, Grant
from ..protocol import LockResult


async def acquire(handle: Acquirable, *, waits: bool) -> Grant:
    """Acquire what `Acquirable.begins` is true for.

    Raises:
        Exception: What `Acquirable.acquire` or `Acquirable.try_acquire` raises.

    Cancellation:
        The wait is withdrawn. A grant that has arrived is released.
    """
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    begun = handle.begin_attempt(partial(_end, future), waits=waits)
    try:
        await future
    except asyncio.CancelledError:
        begun.withdraw()
        raise
    return begun.result()


def can_leave(grant: Grant) -> bool:
    """Return whether `leave` does all that the release of a grant is."""
    return type(grant) is Grant


async def leave(grant: Grant) -> LockResult | None:
    """Send the UNLOCK of a grant and wait for its answer.

    Raises:
        ConnectionLost: There was no connection for ``session_ttl``.

    Cancellation:
        The key is released; the answer is not waited for.
    """
    future: asyncio.Future[outcome.Outcome[LockResult | None]]
    future = asyncio.get_running_loop().create_future()
    begun = grant.begin_leave(partial(_answer, future))
    try:
        answer = await future
    except asyncio.CancelledError:
        begun.leave()
        raise
    return answer.unwrap()


def _end(future: asyncio.Future[None]) -> None:
    # Done already if its task was cancelled, which is then about to withdraw.
    if not future.done():
        future.set_result(None)


def _answer(
    future: asyncio.Future[outcome.Outcome[LockResult | None]],
    answer: outcome.Outcome[LockResult | None],
) -> None:
    if not future.done():
        future.set_result(answer)
