"""Short ways to write commands in tests of the engine."""

from __future__ import annotations

import itertools
from typing import Any

from trioslock.engine import Engine, Reply
from trioslock.protocol import LockCommand, LockResult

KEY = b"k" * 16
OTHER_KEY = b"o" * 16

_request_ids = itertools.count(1)


def make_id(name: str | int) -> bytes:
    """A lock id out of a short name."""
    return str(name).encode().rjust(16, b"\0")


def lock(name: str | int = "a", **fields: Any) -> LockCommand:
    """A LOCK of ``KEY`` with a lease of 9 s and no wait; ``fields`` override."""
    values: dict[str, Any] = {
        "type": 1,
        "request_id": next(_request_ids).to_bytes(16, "big"),
        "flag": 0,
        "db": 0,
        "lock_id": make_id(name),
        "key": KEY,
        "timeout": 0,
        "timeout_flag": 0,
        "expiry": 9,
        "expiry_flag": 0,
        "max_count": 0,
        "rcount": 0,
        "data": None,
    }
    values |= fields
    if values["data"] is not None:
        values["flag"] |= 0x20
    return LockCommand(**values)


def unlock(name: str | int = "a", **fields: Any) -> LockCommand:
    """An UNLOCK of ``KEY`` with all levels; ``fields`` override."""
    return lock(name, **{"type": 2, "expiry": 0, **fields})


class Talk:
    """An engine with one peer and a clock that the test sets."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("wall_offset", 1_700_000_000.0)
        self.engine = Engine(**options)
        self.now = 0.0
        self.peer = self.engine.add_peer(self.now)

    def send(self, command: Any, peer: int | None = None) -> list[Reply]:
        return self.engine.submit(
            self.peer if peer is None else peer, command, self.now
        )

    def codes(self, command: Any, peer: int | None = None) -> list[int]:
        """Send a command and return the result codes of all replies."""
        return [codes_of(each) for each in self.send(command, peer)]

    def result(self, command: LockCommand) -> LockResult:
        """Send a command and return its result, the only reply."""
        (reply,) = self.send(command)
        assert isinstance(reply.result, LockResult)
        return reply.result

    def value(self, key: bytes = KEY) -> bytes | None:
        view = self.engine.inspect(0, key)
        return None if view is None else view.data

    def wait(self, seconds: float) -> list[Reply]:
        self.now += seconds
        return self.engine.advance(self.now)


def codes_of(reply: Reply) -> int:
    assert isinstance(reply.result, LockResult)
    return reply.result.result
