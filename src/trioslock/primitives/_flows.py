"""Limits on how much happens: at once, or within a period.

`ConcurrencyLimiter` is a semaphore under another name (upstream:
MaxConcurrentFlow). `TokenBucket` (upstream: TokenBucketFlow) takes tokens that
come back by themselves when their lease ends; nothing is ever released, so it
hands out no grants.

Periods of three seconds and more are fixed windows: a token that is free at
once comes back at the next multiple of the period since 1970, the same for all
clients whose clocks agree. One that has to be waited for comes back a period
after it was granted, and so does each token of a sliding bucket. In both cases the
server's clock ticks in whole seconds and may take up to one more.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from math import ceil

import trio
from trio.lowlevel import enable_ki_protection

from .._arguments import check_bool, check_seconds
from ..protocol import (
    ExpiryFlag,
    LockResult,
    ResultCode,
    WireDuration,
    encode_duration,
)
from ._acquirable import Acquirable
from ._handle import NO_TIME, CountedHandle, check_count
from ._options import HandleOptions
from ._results import refusal

_WINDOW_FROM = 3.0
"""Seconds from which on the server cannot count a lease in milliseconds."""


class ConcurrencyLimiter(CountedHandle, Acquirable):
    """A handle on a key that up to ``limit`` holders have at once.

    Args:
        options: The key, and how to ask for it.
        limit: 1 to 65,535; all clients that use the key must agree on it.
    """

    def __init__(self, options: HandleOptions, limit: int) -> None:
        super().__init__(options, count=check_count(limit, "limit"))
        self.limit = limit

    def _state(self) -> str:
        return f", limit {self.limit}{super()._state()}"


class TokenBucket(CountedHandle):
    """A handle on a key from which ``tokens`` may be taken in each period.

    It keeps no state and may be shared.

    Args:
        options: The key, and how to ask for it; without its lease.
        tokens: 1 to 65,535; all clients that use the key must agree on it.
        per: Seconds of the period; from 3 on rounded up to whole ones.
        sliding: Each token comes back a whole period after it was taken, however long
            the period is.
        wall_clock: Returns Unix seconds; the start of a window depends on it.
    """

    def __init__(
        self,
        options: HandleOptions,
        tokens: int,
        per: float,
        *,
        sliding: bool = False,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(options)
        check_seconds(per, "per")
        self.tokens = tokens
        self.per = per
        self.sliding: bool = check_bool(sliding, "sliding")
        self._count = check_count(tokens, "tokens")
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
            No token is taken; one that was granted at the same moment is released.
            Once it has returned, the token is spent, and comes back only at the end
            of its period. After a lost connection a token may be spent without use.
        """
        if self._windowed:
            # A free token comes back at the end of the window, one that has to be
            # waited for after a whole period: so two requests.
            result = await self._take(NO_TIME, self._rest_of_window())
            if result.result == ResultCode.SUCCED:
                return
        result = await self._take(self._requester.wait, self._period)
        if result.result != ResultCode.SUCCED:
            raise refusal(result, self.key)

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
            raise refusal(result, self.key)

    @property
    def _windowed(self) -> bool:
        return not (self.sliding or self._period.flag & ExpiryFlag.MILLISECONDS)

    def _rest_of_window(self) -> WireDuration:
        """Return the lease of a token that is taken now."""
        period = ceil(self.per)
        # At least one second: the server would grant a lease of 0 for no time.
        return encode_duration(period - int(self._wall_clock()) % period)

    async def _take(self, wait: WireDuration, lease: WireDuration) -> LockResult:
        options = self._options
        command = self._lock(
            wait=WireDuration(wait.value, wait.flag | options.wait_bits),
            lease=WireDuration(lease.value, lease.flag | options.flags.lease_bits),
            max_count=self._count,
            rcount=options.priority or 0,
        )
        return await self._requester.acquire(command)


def _period(per: float) -> WireDuration:
    """Return a lease of one period; below three seconds always in milliseconds."""
    if per < _WINDOW_FROM:
        return WireDuration(ceil(per * 1000), int(ExpiryFlag.MILLISECONDS))
    return encode_duration(per, whole_seconds=True)
