"""A requester whose server answers as a test says: for answers that no server gives."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any

import trio

from trioslock.primitives import HandleOptions
from trioslock.protocol import (
    ExpiryFlag,
    LockCommand,
    LockResult,
    PreparedLock,
    TimeoutFlag,
    WireDuration,
)

KEY = b"0123456789abcdef"


class AnsweringRequester:
    """Answers each command with the next of some result codes, the last one for ever.

    Args:
        answers: Result codes, or errors to raise.

    Attributes:
        sent: The commands, in order.
        before_answer: Called before each answer.
    """

    session_ttl = 10.0
    session_lease = WireDuration(10, int(ExpiryFlag.KEEPALIVE))
    wait = WireDuration(10, int(TimeoutFlag.KEEPALIVE))

    def __init__(self, *answers: int | Exception) -> None:
        self.sent: list[LockCommand] = []
        self.forgotten: list[bytes] = []
        self.before_answer: Callable[[], object] = lambda: None
        self._answers = list(answers)
        self._ids = count(1)

    def new_id(self) -> bytes:
        return next(self._ids).to_bytes(14, "big") + bytes(2)

    def follow_up(self, request_id: bytes) -> bytes:
        return request_id

    async def request(
        self, command: LockCommand, listener: Any = None, **_options: bool
    ) -> LockResult:
        await trio.lowlevel.checkpoint()
        self.sent.append(command)
        self.before_answer()
        answer = self._answers.pop(0) if self._answers[1:] else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        ids = (command.lock_id, command.key)
        return LockResult(
            *(command.type, command.request_id, answer, 0, command.db, *ids),
            *(1, 0, 1, 0, None),
        )

    acquire = update = release = request

    def acquire_prepared(
        self, prepared: PreparedLock, attempt: bytes, listener: Any
    ) -> Awaitable[LockResult]:
        return self.request(prepared.lock(attempt))

    def release_prepared(
        self, prepared: PreparedLock, attempt: bytes
    ) -> Awaitable[LockResult]:
        return self.request(prepared.unlock(attempt))

    def forget(self, request_id: bytes) -> None:
        self.forgotten.append(request_id)


def answered(*answers: int | Exception, **more: Any) -> HandleOptions:
    """Return options whose requester gives these answers."""
    requester: Any = AnsweringRequester(*answers)
    return HandleOptions(requester, KEY, **more)
