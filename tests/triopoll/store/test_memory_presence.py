"""What is special about who waits in this process."""

from __future__ import annotations

import pytest
import trio

from triopoll.store import (
    ALL,
    LogLimits,
    MemoryLog,
    MemoryPresence,
    Waiting,
    changes_key,
)
from triopoll.store._presence_base import RECORD


class Clock:
    now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


async def test_the_recording_ends_where_it_is_not_asked_for() -> None:
    """And begins again with a note, so its readers know that they have missed some."""
    clock = Clock()
    log = MemoryLog(LogLimits(), clock=clock)
    presence = MemoryPresence(log, clock=clock)
    for key in ("a", "b"):
        await presence.look([key], record=True)
        clock.now += RECORD / 2
    assert await presence.report({"a": Waiting(("ann",)), "b": Waiting(("ann",))}) == [
        "b"
    ]
    (found,) = await presence.look(["a"], record=True)
    assert found.is_recorded
    page = await log.read(changes_key("a"), ALL, 10)
    assert [message.data for message in page.messages] == [b'{"reset":true}'] * 2
    assert repr(presence) == "<MemoryPresence: 2 keys>"


@pytest.mark.parametrize("operation", ["report", "look"])
async def test_a_cancelled_operation_changes_nothing(operation: str) -> None:
    log = MemoryLog()
    presence = MemoryPresence(log)
    with trio.CancelScope() as scope:
        scope.cancel()
        if operation == "report":
            await presence.report({"k": Waiting(("ann",))})
        else:
            await presence.look(["k"], record=True)
    assert scope.cancelled_caught
    assert repr(presence) == "<MemoryPresence: 0 keys>"
    assert (await log.read(changes_key("k"), ALL, 10)).messages == ()
