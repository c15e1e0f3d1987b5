"""Subscriptions: peers that get an event when a wait or a lease ends by itself.

A subscription belongs to a peer and may outlive it for some seconds, buffering events
meanwhile; another peer resumes it by client and subscribe id. While a peer is there
its events go out at once: bounding what is under way to it is the connection's task.

Source: snower/slock 2.1.12, ``server/subscribe.go``.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..protocol import (
    FRAME_SIZE,
    CommandType,
    LockCommand,
    LockResult,
    ResultCode,
    SubscribeCommand,
    SubscribeResult,
)
from ._deadlines import Deadlines
from ._peers import Peer
from ._types import ClosePeer, EngineLimits, Reply, lock_result

_REMOVE = 1
_PUBLISH = int(CommandType.PUBLISH)
_REPLICA_SET_VERSION = (0).to_bytes(4, "little")
_ERROR = int(ResultCode.ERROR)
_DONE = int(ResultCode.SUCCED)


class EngineSubscription:
    """The key masks of one subscriber, and its events while it is away."""

    def __init__(self, subscribe_id: int, client_id: int, peer: Peer) -> None:
        self.id = subscribe_id
        self.client_id = client_id
        self.peer: Peer | None = peer
        self.masks: dict[int, None] = {}
        self.expiry = 0
        self.max_size = 0
        self.buffer: list[LockResult] = []
        self.buffered = 0
        self.due = 0

    def wants(self, key: int) -> bool:
        """Return whether a key, read as a number, shares a set bit with a mask."""
        return any(key & mask for mask in self.masks)


class Subscriptions:
    """All subscriptions of an engine."""

    __slots__ = ("_all", "_deadlines", "_limits", "_published", "_serial")

    def __init__(self, limits: EngineLimits) -> None:
        self._limits = limits
        self._all: dict[int, EngineSubscription] = {}
        self._deadlines: Deadlines[EngineSubscription] = Deadlines()
        self._serial = 0
        self._published = 0

    def __len__(self) -> int:
        return len(self._all)

    @property
    def timers(self) -> int:
        """Number of subscriptions that end unless their subscriber comes back."""
        return len(self._deadlines)

    # Commands.

    def submit(self, peer: Peer, command: SubscribeCommand) -> list[Reply]:
        """Add a mask to a subscription or remove one.

        A new subscription is made for id 0 and for one that does not exist. The
        result precedes the buffered events. Without a mask the subscription ends
        and the peer is closed.

        Returns:
            The replies; result 11 for an id of another client, and above the
            limits.
        """
        subscription = self._all.get(command.subscribe_id)
        if subscription is None:
            if len(self._all) >= self._limits.subscriptions:
                return [_result(peer, command, _ERROR, command.subscribe_id)]
            subscription = self._new(peer, command.client_id)
        elif subscription.client_id != command.client_id or self._is_full(
            subscription, command
        ):
            return [_result(peer, command, _ERROR, subscription.id)]
        # Resumed by this peer, which may be the same one.
        self._deadlines.disarm(subscription)
        subscription.peer = peer
        peer.subscribed = True
        replies = [_result(peer, command, _DONE, subscription.id)]
        replies += [Reply(peer.id, result) for result in subscription.buffer]
        subscription.buffer = []
        subscription.buffered = 0
        if not self._change_masks(subscription, command):
            replies.append(Reply(peer.id, ClosePeer("unsubscribed")))
        return replies

    def _new(self, peer: Peer, client_id: int) -> EngineSubscription:
        self._serial += 1
        subscription = EngineSubscription(self._serial, client_id, peer)
        self._all[subscription.id] = subscription
        return subscription

    def _is_full(
        self, subscription: EngineSubscription, command: SubscribeCommand
    ) -> bool:
        if command.subscribe_type == _REMOVE:
            return False
        mask = int.from_bytes(command.mask, "little")
        return (
            mask not in subscription.masks
            and len(subscription.masks) >= self._limits.masks
        )

    def _change_masks(
        self, subscription: EngineSubscription, command: SubscribeCommand
    ) -> bool:
        """Add or remove the mask; return whether the subscription goes on."""
        mask = int.from_bytes(command.mask, "little")
        if command.subscribe_type != _REMOVE:
            subscription.masks[mask] = None
            subscription.expiry = command.expiry
            subscription.max_size = command.max_size
            return True
        subscription.masks.pop(mask, None)
        if not subscription.masks:
            del self._all[subscription.id]
        return bool(subscription.masks)

    # Events.

    def publish(
        self,
        command: LockCommand,
        code: int,
        lcount: int,
        levels: int,
        data: bytes | None,
    ) -> Iterator[Reply]:
        """Yield one event for each subscription of this key whose peer is there."""
        self._published += 1
        event = lock_result(command, code, lcount, levels, data)
        key = int.from_bytes(command.key, "little")
        head = self._published.to_bytes(8, "little") + _REPLICA_SET_VERSION
        # Over a copy: `_keep` ends a subscription whose buffer is full.
        for subscription in list(self._all.values()):
            if not subscription.wants(key):
                continue
            request_id = head + subscription.id.to_bytes(4, "little")
            result = event._replace(type=_PUBLISH, request_id=request_id)
            if subscription.peer is not None:
                yield Reply(subscription.peer.id, result)
            else:
                self._keep(subscription, result)

    def _keep(self, subscription: EngineSubscription, result: LockResult) -> None:
        """Buffer an event; a full buffer ends the subscription."""
        size = FRAME_SIZE + len(result.data or b"")
        limit = self._limits.subscription_buffer
        if subscription.max_size:
            limit = min(limit, subscription.max_size)
        if subscription.buffered + size > limit:
            self._deadlines.disarm(subscription)
            del self._all[subscription.id]
            return
        subscription.buffer.append(result)
        subscription.buffered += size

    # Peers and time; times are wall milliseconds.

    def drop_peer(self, peer: Peer, wall_ms: int) -> None:
        """End the subscriptions of a peer, or keep them for a while."""
        if not peer.subscribed:
            return
        for subscription in list(self._all.values()):
            if subscription.peer is not peer:
                continue
            subscription.peer = None
            if subscription.expiry:
                due = wall_ms + 1000 * subscription.expiry
                self._deadlines.arm(subscription, due)
            else:
                del self._all[subscription.id]

    def next_deadline(self) -> int | None:
        """Return when the first subscription without a peer ends."""
        return self._deadlines.next()

    def advance(self, wall_ms: int) -> None:
        """End the subscriptions whose peer has not come back in time."""
        while (due := self._deadlines.next()) is not None and due <= wall_ms:
            for subscription in self._deadlines.pop():
                del self._all[subscription.id]


def _result(
    peer: Peer, command: SubscribeCommand, code: int, subscribe_id: int
) -> Reply:
    result = SubscribeResult(
        command.request_id, code, 0, command.client_id, subscribe_id
    )
    return Reply(peer.id, result)
