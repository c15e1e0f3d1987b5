"""Keys in a tree: a node is free when nothing is held in it or below it.

A *leaf* is a shared grant in a node. While a node has a leaf, its parent has an
entry for the node (lock id: the node's key), and the node has a *link* to its
parent (lock id: the parent's key, marked). Releasing the last leaf of a node
makes the server take out the link and the parent's entry, and so on upwards.

The leaf comes first, then the links from the bottom up, all of them, each time:
while a leaf is held the server takes no link away, and the leases of the links
begin anew with each leaf. Where the server's own climb goes on at the same
instant, a link may be lost all the same: it does not climb in one step.

A leaf passes the queue of those who wait for the node to be free, so a tree
that is in use all the time may keep them waiting for ever.
"""

from __future__ import annotations

from collections.abc import Awaitable

import trio
from trio.lowlevel import enable_ki_protection

from .._errors import LossReason, SlockError
from ..link import Requester
from ..protocol import (
    UNLIMITED_COUNT,
    Data,
    ExpiryFlag,
    LockCommand,
    LockFlag,
    LockResult,
    ResultCode,
    TimeoutFlag,
    UnlockFlag,
    WireDuration,
    to_key,
)
from ._acquirable import Acquirable
from ._flags import NO_FLAGS, Flags
from ._grant import Grant, let_go
from ._lease import SESSION, Lease, Session, wire_lease
from ._renewal import EXTRA, SHARE
from ._results import refusal

_LEAF_PRIORITY = 1
_NO_WAIT = WireDuration(0, int(TimeoutFlag.RCOUNT_IS_PRIORITY))
_LINK = int(LockFlag.TREE | LockFlag.UPDATE)
_ENTRY = int(LockFlag.UPDATE)
_LINKED = (ResultCode.SUCCED, ResultCode.LOCKED_ERROR)
_REFUSED = int(ResultCode.TIMEOUT)


class Links:
    """The links of one leaf, from its node up to the root.

    They belong to all leaves of a node together, so they cannot follow one
    connection. Where the leaf does, they have a lease of seconds that a task
    renews; where the leaf has seconds, they get the same.

    Args:
        leaf: Where the leaf is.
        lease: The lease of the leaf.
    """

    def __init__(self, leaf: TreeLeaf, lease: Lease) -> None:
        self._leaf = leaf
        self._requester = leaf.node.requester
        self._in_session = isinstance(lease, Session)
        seconds = self._requester.session_ttl + EXTRA if self._in_session else lease
        assert not isinstance(seconds, Session)
        self._lease = wire_lease(self._requester, seconds, whole_seconds=True)
        self._scope = trio.CancelScope()

    async def tie(self) -> None:
        """Make all links, and keep those of a session leaf.

        Raises:
            LockError: A node above is held by something that is no tree.
        """
        await self._ensure_all()
        if self._in_session and self._leaf.node.parent is not None:
            self._requester.start_soon(self._keep)

    async def extend(self, lease: WireDuration) -> None:
        """Give the links the lease that the leaf has got."""
        if not lease.flag & ExpiryFlag.KEEPALIVE:
            self._lease = lease
        await self._ensure_all()

    def stop(self) -> None:
        """Renew no more: the leaf is about to let go."""
        self._scope.cancel()

    @enable_ki_protection
    async def _keep(self) -> None:
        with self._scope:
            while True:
                await trio.sleep(self._requester.session_ttl / SHARE)
                try:
                    await self._ensure_all()
                except trio.ClosedResourceError:
                    return
                except SlockError:
                    # Tried again in time, if it gets better.
                    continue

    async def _ensure_all(self) -> None:
        node = self._leaf.node
        while node.parent is not None:
            await self._ensure(node.key, node.parent.key, _LINK)
            await self._ensure(node.parent.key, node.key, _ENTRY)
            node = node.parent

    async def _ensure(self, key: bytes, lock_id: bytes, flag: int) -> None:
        """Hold ``key`` under ``lock_id``, or renew that."""
        command = self._leaf.link(key, lock_id, flag, self._lease)
        result = await self._requester.request(command, replay=True)
        if result.result not in _LINKED:
            raise refusal(result)


class Leaf(Grant):
    """A shared grant in a node of a tree; its release lets go of the parents."""

    _unlock_flag = int(UnlockFlag.TREE)
    links: Links | None = None

    def lost(self, reason: LossReason) -> None:
        """Note the loss; the links end with their lease."""
        self._stop()
        super().lost(reason)

    async def _update(self, lease: WireDuration, data: Data | None) -> bytes | None:
        frame = await super()._update(lease, data)
        if self.links is not None:
            await self.links.extend(lease)
        return frame

    async def _release(self, data: Data | None = None) -> None:
        self._stop()
        await super()._release(data)

    def _leave(self) -> Awaitable[LockResult | None]:
        self._stop()
        return super()._leave()

    def _stop(self) -> None:
        if self.links is not None:
            self.links.stop()


class TreeLeaf(Acquirable):
    """What is held in one node of a tree; made by `TreeLock.leaf`."""

    _grant_type = Leaf

    def __init__(
        self, node: TreeLock, *, lease: Lease, flags: Flags, renew: bool
    ) -> None:
        super().__init__(
            node.requester,
            node.key,
            db=node.db,
            lease=lease,
            count=UNLIMITED_COUNT,
            priority=_LEAF_PRIORITY,
            flags=flags,
            renew=renew,
        )
        self.node = node

    async def take(self, wait: int, wait_flag: int, data: Data | None) -> Grant:
        """Take a leaf, waiting as the flags say."""
        return await self._attempt(wait, wait_flag, data)

    def link(
        self, key: bytes, lock_id: bytes, flag: int, lease: WireDuration
    ) -> LockCommand:
        """Return a LOCK that links two nodes."""
        return self._shared(lease, lock_id=lock_id, flag=flag)._replace(key=key)

    async def _attempt(self, wait: int, wait_flag: int, data: Data | None) -> Grant:
        try:
            grant = await super()._attempt(wait, wait_flag, data)
        except trio.Cancelled:
            self._sweep()
            raise
        assert isinstance(grant, Leaf)
        grant.links = Links(self, self._lease)
        try:
            await grant.links.tie()
        except BaseException:
            await let_go(grant)
            raise
        return grant

    def _sweep(self) -> None:
        """Let the server take away links that only a withdrawn leaf has kept.

        Withdrawing a leaf that was just granted does not climb; releasing
        another one behind it does.
        """
        leaf = self._shared(WireDuration(1, 0))
        self._requester.post(leaf)
        undo = self._unlock(lock_id=leaf.lock_id, flag=UnlockFlag.TREE)
        self._requester.post(undo._replace(timeout_flag=_NO_WAIT.flag))

    def _shared(
        self, lease: WireDuration, *, lock_id: bytes | None = None, flag: int = 0
    ) -> LockCommand:
        return self._lock(
            lock_id=lock_id,
            flag=flag,
            wait=_NO_WAIT,
            lease=lease,
            max_count=UNLIMITED_COUNT,
            rcount=_LEAF_PRIORITY,
        )


class TreeLock(Acquirable):
    """A handle on a node of a tree of keys.

    It keeps no state and may be shared. Taking the node itself waits until
    nothing is held in it or below, then takes a leaf in it; the two are not one
    step, so two who take the same node may both get it if neither was there
    when the other looked. Use a `Lock` beside the tree where that matters.

    Args:
        requester: Carries the commands.
        key: Exactly 16 bytes.
        db: Database, 0 to 254.
        parent: The node above, None for the root.
        lease: How long a leaf is held.
        flags: Wishes that go with each request.
        renew: Renew a lease of seconds while the body of a grant runs.
    """

    _grant_type = Leaf

    def __init__(
        self,
        requester: Requester,
        key: bytes,
        *,
        db: int = 0,
        parent: TreeLock | None = None,
        lease: Lease = SESSION,
        flags: Flags = NO_FLAGS,
        renew: bool = True,
    ) -> None:
        super().__init__(requester, key, db=db, lease=lease, flags=flags, renew=renew)
        self.requester = requester
        self.parent = parent
        self._leaf = TreeLeaf(self, lease=lease, flags=flags, renew=renew)

    def _state(self) -> str:
        parent = "" if self.parent is None else f", below {self.parent.key.hex()}"
        return f"{parent}{super()._state()}"

    def child(self, key: str | bytes) -> TreeLock:
        """Return a node below this one.

        Args:
            key: Its name. A key has one parent: use it below one node.
        """
        return TreeLock(
            self._requester,
            to_key(key),
            db=self.db,
            parent=self,
            lease=self._lease,
            flags=self.flags,
            renew=self.renew,
        )

    def leaf(self) -> TreeLeaf:
        """Return what can be held in this node: any number, at the same time."""
        return self._leaf

    @enable_ki_protection
    async def wait_free(self) -> None:
        """Wait until nothing is held in this node or below.

        Raises:
            ConnectionLost: The client does not reconnect.
            trio.ClosedResourceError: The client is closed.

        Cancellation:
            The wait is withdrawn on the server; nothing waits there.
        """
        await self._probe(self._requester.wait)

    async def _attempt(self, wait: int, wait_flag: int, data: Data | None) -> Grant:
        await self._probe(WireDuration(wait, wait_flag))
        return await self._leaf.take(wait, wait_flag, data)

    async def _probe(self, wait: WireDuration) -> None:
        """Ask for the node alone, for no time."""
        result = await self._requester.acquire(self._lock(wait=wait))
        if result.result == _REFUSED and not wait.value:
            raise trio.WouldBlock
        if result.result != ResultCode.SUCCED:
            raise refusal(result)
