"""Limits on how much goes on: at once, or within a period.

`ConcurrencyLimiter` is a semaphore in other words (upstream:
MaxConcurrentFlow). `TokenBucket` (upstream: TokenBucketFlow) takes tokens that
come back by themselves when their lease ends; nothing is ever released, so it
hands out no grants.

Periods of three seconds and more are fixed windows: a token that is free at
once comes back at the next multiple of the period since 1970, the same for all
clients whose clocks agree. One that has to be waited for comes back a period
after it was granted. In both cases the server's clock ticks in whole seconds
and may take up to one more.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from math import ceil

import trio
from trio.lowlevel import enable_ki_protection

from ..link import Requester
from ..protocol import (
    ExpiryFlag,
    LockResult,
    ResultCode,
    TimeoutFlag,
    WireDuration,
    encode_duration,
)
from ._acquirable import Acquirable, check_priority
from ._flags import NO_FLAGS, Flags
from ._handle import NO_TIME, Handle
from ._lease import SESSION, Lease
from ._results import refusal
from ._semaphore import check_permits

_WINDOW_FROM = 3.0
"""Seconds from which on the server cannot count a lease in milliseconds."""


class ConcurrencyLimiter(Acquirable):
    """A handle on a key that up to ``limit`` holders have at once.

    Args:
        requester: Carries the commands.
        key: Exactly 16 bytes.
        limit: 1 to 65,535; all who use the key must agree on it.
        db: Database, 0 to 254.
        lease: How long one holder may take.
        priority: Place in the queue, 0 to 255, highest first. None for the end.
        flags: Wishes that go with each request.
        renew: Renew a lease of seconds while the body of a grant runs.
    """

    def __init__(
        self,
        requester: Requester,
        key: bytes,
        limit: int,
        *,
        db: int = 0,
        lease: Lease = SESSION,
        priority: int | None = None,
        flags: Flags = NO_FLAGS,
        renew: bool = True,
    ) -> None:
        super().__init__(
            requester,
            key,
            db=db,
            lease=lease,
            count=check_permits(limit, "limit"),
            priority=priority,
            flags=flags,
            renew=renew,
        )
        self.limit = limit

    def _state(self) -> str:
        return f", limit {self.limit}{super()._state()}"

    async def in_use(self) -> int:
        """Return how many hold it now, by whatever client.

        Raises:
            ConnectionLost: The client does not reconnect.
            trio.ClosedResourceError: The client is closed.

        Cancellation:
            Nothing is left on the server.
        """
        return await self._levels_in_use()


class TokenBucket(Handle):
    """A handle on a key from which ``tokens`` may be taken in each period.

    It keeps no state and may be shared.

    Args:
        requester: Carries the commands.
        key: Exactly 16 bytes.
        tokens: 1 to 65,535; all who use the key must agree on it.
        per: Seconds of the period; from 3 on rounded up to whole ones.
        db: Database, 0 to 254.
        priority: Place in the queue, 0 to 255, highest first. None for the end.
        flags: Wishes that go with each request.
        wall_clock: Returns Unix seconds; the start of a window depends on it.
    """

    def __init__(
        self,
        requester: Requester,
        key: bytes,
        tokens: int,
        per: float,
        *,
        db: int = 0,
        priority: int | None = None,
        flags: Flags = NO_FLAGS,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(requester, key, db=db)
        if not per > 0:
            raise ValueError(f"per must be above 0 seconds, not {per!r}")
        check_priority(priority)
        self.tokens = tokens
        self.per = per
        self._count = check_permits(tokens, "tokens")
        self._priority = priority
        self._flags = flags
        self._wall_clock = wall_clock
        self._period = _period(per)

    def _state(self) -> str:
        return f", {self.tokens} tokens per {self.per:g} s"

    @enable_ki_protection
    async def acquire(self) -> None:
        """Wait for a token and take it.

        Raises:
            ConnectionLost: The client does not reconnect.
            trio.ClosedResourceError: The client is closed.

        Cancellation:
            No token is taken; one that was granted in the same instant is given
            back. Once it has returned, the token is spent, and comes back at
            the end of its period alone. After a lost connection a token may be
            spent for nothing.
        """
        if self._windowed:
            result = await self._take(NO_TIME, self._rest_of_window())
            if result.result == ResultCode.SUCCED:
                return
        result = await self._take(self._requester.wait, self._period)
        if result.result != ResultCode.SUCCED:
            raise refusal(result)

    @enable_ki_protection
    async def try_acquire(self) -> None:
        """Take a token if there is one now.

        Raises:
            trio.WouldBlock: There is none, or others wait for one.
            ConnectionLost: The client does not reconnect.
            trio.ClosedResourceError: The client is closed.

        Cancellation:
            As for `acquire`.
        """
        lease = self._rest_of_window() if self._windowed else self._period
        result = await self._take(NO_TIME, lease)
        if result.result == ResultCode.TIMEOUT:
            raise trio.WouldBlock
        if result.result != ResultCode.SUCCED:
            raise refusal(result)

    async def in_use(self) -> int:
        """Return how many tokens are spent and have not come back yet.

        Raises:
            ConnectionLost: The client does not reconnect.
            trio.ClosedResourceError: The client is closed.

        Cancellation:
            Nothing is left on the server.
        """
        return await self._levels_in_use()

    @property
    def _windowed(self) -> bool:
        return not self._period.flag & ExpiryFlag.MILLISECONDS

    def _rest_of_window(self) -> WireDuration:
        period = ceil(self.per)
        return encode_duration(period - int(self._wall_clock()) % period)

    async def _take(self, wait: WireDuration, lease: WireDuration) -> LockResult:
        bits = self._flags.wait_bits
        if self._priority is not None:
            bits |= TimeoutFlag.RCOUNT_IS_PRIORITY
        command = self._lock(
            wait=WireDuration(wait.value, wait.flag | bits),
            lease=WireDuration(lease.value, lease.flag | self._flags.lease_bits),
            max_count=self._count,
            rcount=self._priority or 0,
        )
        return await self._requester.acquire(command)


def _period(per: float) -> WireDuration:
    """Return a lease of one period; below three seconds always in milliseconds."""
    if per < _WINDOW_FROM:
        return WireDuration(ceil(per * 1000), int(ExpiryFlag.MILLISECONDS))
    return encode_duration(per, whole_seconds=True)
