"""What happens to keys, published by the server as it happens.

The server publishes requests that were refused or timed out, and leases that ended,
where they were made with the publish flag (``Flags(publish=True)``). It never
publishes grants, releases and changes of data.

A subscription has a connection of its own: the server ends it together with the
last key mask, and closes it when its buffer overflows. After a broken connection the
subscription continues where it was, if the server has kept it that long.

Source: snower/slock 2.1.12, ``server/subscribe.go``.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Literal, Protocol, Self, cast

import trio
from trio.lowlevel import enable_ki_protection

from .._arguments import check_int, check_type
from .._errors import ServerError, SlockError
from ..link import Requester
from ..protocol import (
    ID_SIZE,
    Data,
    LockResult,
    ResultCode,
    SubscribeCommand,
    SubscribeResult,
)
from ._handle import decoded

EVERYTHING = b"\xff" * ID_SIZE
"""A key mask that all keys match, but the one of 16 zero bytes."""

_HALF = ID_SIZE // 2
_ADD, _REMOVE = 0, 1
_REFUSED = int(ResultCode.TIMEOUT)
_EXPIRED = int(ResultCode.EXPRIED)
_NO_SUBSCRIBERS = int(ResultCode.ERROR)


class SubscriptionSession(Requester, Protocol):
    """A session that serves one subscription and nothing else."""

    on_publish: Callable[[LockResult], None] | None
    on_connected: Callable[[], None] | None


@dataclass(frozen=True, slots=True)
class Change:
    """Something that happened to a key.

    Attributes:
        kind: ``"refused"`` for a request that was refused or timed out,
            ``"expired"`` for a lease that ended.
        key: The 16 bytes of the key.
        lock_id: The 16 bytes of the request or the holder.
        levels: Levels that ended with the lease; 0 for a request.
        held: Levels that are held on the key after it.
        data: The key's value, or None.
        serial: Number of the message; each one is larger than the one before.
    """

    kind: Literal["refused", "expired"]
    key: bytes
    lock_id: bytes
    levels: int
    held: int
    data: Data | None
    serial: int


@dataclass(frozen=True, slots=True)
class SubscriptionStatistics:
    """What a subscription has received so far.

    Attributes:
        received: Messages about its database.
        dropped: Of these, how many were dropped because the buffer was full.
        buffered: How many wait to be read.
        resubscribed: How often it continued after a broken connection. The server
            may have dropped messages meanwhile.
    """

    received: int
    dropped: int
    buffered: int
    resubscribed: int


class Subscription:
    """An async iterator over `Change`; made by `Database.subscribe`.

    At most ``buffer`` messages are kept for a slow reader; after that each new one
    takes the place of the oldest, and `statistics` counts those that were dropped.

    Args:
        session: A session of its own.
        client_number: A random number of 32 bits.
        db: The database whose messages are wanted.
        masks: Key masks of 16 bytes each.
        buffer: Messages kept here, at least 1.
        server_buffer: Bytes kept by the server.
        outlive: Seconds that the server keeps the subscription after its connection
            broke.
    """

    def __init__(
        self,
        session: SubscriptionSession,
        client_number: int,
        *,
        db: int,
        masks: Sequence[bytes],
        buffer: int,
        server_buffer: int,
        outlive: float,
    ) -> None:
        check_int(buffer, "buffer", 1, sys.maxsize)
        check_int(server_buffer, "server_buffer", 1, (1 << 32) - 1)
        self.db = db
        self.masks: tuple[bytes, ...] = tuple(check_mask(mask) for mask in masks) or (
            EVERYTHING,
        )
        self._session = session
        self._client_number = client_number
        self._number = 0
        self._server_buffer = server_buffer
        self._outlive = ceil(outlive)
        self._changes: deque[Change] = deque(maxlen=buffer)
        self._arrived = trio.Event()
        self._received = self._dropped = self._resubscribed = 0
        self._ended: Exception | None = None
        session.on_publish = self._receive

    def __repr__(self) -> str:
        state = "ended" if self._ended else f"{len(self._changes)} buffered"
        return (
            f"<Subscription of database {self.db}, {len(self.masks)} masks: "
            f"{state}, {self._dropped} dropped>"
        )

    def statistics(self) -> SubscriptionStatistics:
        """Return what it has received so far."""
        return SubscriptionStatistics(
            self._received, self._dropped, len(self._changes), self._resubscribed
        )

    def __aiter__(self) -> Self:
        return self

    @enable_ki_protection
    async def __anext__(self) -> Change:
        """Wait for the next message and return it.

        Raises:
            StopAsyncIteration: The subscription has been left.
            SlockError: The server does not continue it, or the client has given up
                reconnecting.

        Cancellation:
            No message is taken.
        """
        await trio.lowlevel.checkpoint()
        while not self._changes:
            if self._ended is not None:
                raise self._ended
            self._arrived = trio.Event()
            await self._arrived.wait()
        return self._changes.popleft()

    async def subscribe(self) -> None:
        """Subscribe for the first time.

        Raises:
            ServerError: The server accepts no subscriptions.
            ConnectionLost: The connection broke.

        Cancellation:
            The server may have the subscription, until the connection ends.
        """
        await self._send_masks()
        # Set only now: the first connection is not a reconnection.
        self._session.on_connected = self._connected

    async def unsubscribe(self) -> None:
        """End the subscription on the server; messages in the buffer are dropped."""
        # First, so that a connection that breaks now is not subscribed again.
        self._session.on_connected = None
        self._changes.clear()
        self._end(StopAsyncIteration())
        for mask in self.masks:
            await self._session.ask(self._command(_REMOVE, mask))

    def _connected(self) -> None:
        self._session.start_soon(self._resubscribe)

    @enable_ki_protection
    async def _resubscribe(self) -> None:
        try:
            await self._send_masks()
            self._resubscribed += 1
        except ServerError as error:
            self._end(error)
        except (SlockError, trio.ClosedResourceError):
            # The connection broke again, and is made again; or the body has ended.
            return

    async def _send_masks(self) -> None:
        for mask in self.masks:
            answer = await self._session.ask(self._command(_ADD, mask))
            result = cast(SubscribeResult, answer)
            if result.result != ResultCode.SUCCED:
                raise _refusal(result.result)
            # The masks after the first are added to the same subscription.
            self._number = result.subscribe_id

    def _command(self, kind: int, mask: bytes) -> SubscribeCommand:
        return SubscribeCommand(
            self._session.new_id(),
            0,
            self._client_number,
            self._number,
            kind,
            mask,
            self._outlive,
            self._server_buffer,
        )

    def _receive(self, result: LockResult) -> None:
        # The masks choose keys; the server knows no filter by database.
        if result.db != self.db or self._ended is not None:
            return
        self._received += 1
        # A full deque drops its oldest message at the append.
        self._dropped += len(self._changes) == self._changes.maxlen
        self._changes.append(_change(result))
        self._arrived.set()

    def _end(self, error: Exception) -> None:
        if self._ended is None:
            self._ended = error
        self._arrived.set()


def check_mask(mask: bytes) -> bytes:
    """Return a key mask that the server can match.

    Raises:
        TypeError: It is not bytes.
        ValueError: It is not 16 bytes, or has no bit set.
    """
    check_type(mask, bytes, "a key mask", f"{ID_SIZE} bytes")
    if len(mask) != ID_SIZE or not any(mask):
        raise ValueError(f"a key mask is 16 bytes, not all zero, unlike {mask!r}")
    return mask


def _change(result: LockResult) -> Change:
    return Change(
        kind="expired" if result.result == _EXPIRED else "refused",
        key=result.key,
        lock_id=result.lock_id,
        levels=result.lrcount,
        held=result.lcount,
        data=decoded(result.data),
        serial=int.from_bytes(result.request_id[:_HALF], "little"),
    )


def _refusal(code: int) -> ServerError:
    if code == _NO_SUBSCRIBERS:
        return ServerError(
            "the server accepts no subscriptions: start it with --subscribe_enabled "
            "(the embedded one with --subscribe-enabled)",
            result=code,
        )
    return ServerError(f"the server refused to subscribe: result {code}", result=code)
