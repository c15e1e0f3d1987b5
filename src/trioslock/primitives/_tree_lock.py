"""Keys in a tree: a node is free when nothing is held in it or below it.

A *leaf* is a shared grant in a node. While a node has a leaf, its parent has an
entry for the node (lock id: the node's key), and the node has a *link* to its
parent (lock id: the parent's key, marked). Releasing the last leaf of a node
makes the server remove the link and the parent's entry, and so on upwards.

The leaf comes first, then the links from the bottom up, all of them, each time:
while a leaf is held the server removes no link, and the leases of the links
start again with each leaf. The server does not go upwards in one step, so a link
that is made at the same moment may be lost all the same.

A leaf passes the queue of requests that wait for the node to be free, so a tree
that is in use all the time may keep them waiting for ever.
"""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import replace

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
    key_of,
)
from ._acquirable import Acquirable
from ._grant import Grant, release_unusable
from ._lease import Lease, SessionLease, wire_lease
from ._options import HandleOptions
from ._renewal import EXTRA, SHARE
from ._results import refusal

_LEAF_PRIORITY = 1
_NO_WAIT = WireDuration(0, int(TimeoutFlag.RCOUNT_IS_PRIORITY))
_LINK = int(LockFlag.TREE | LockFlag.UPDATE)
_ENTRY = int(LockFlag.UPDATE)
_LINKED = (ResultCode.SUCCED, ResultCode.LOCKED_ERROR)
_REFUSED = int(ResultCode.TIMEOUT)


class TreeLinks:
    """The links of one leaf, from its node up to the root.

    They belong to all leaves of a node together, so they cannot end with one
    connection. Where the leaf has a session lease, they have a lease of seconds that
    a task renews; where the leaf has seconds, they get the same.

    Args:
        leaf: Where the leaf is.
        lease: The lease of the leaf.
    """

    def __init__(self, leaf: TreeLeaf, lease: Lease) -> None:
        self._leaf = leaf
        self._requester = leaf.node.requester
        self._in_session = isinstance(lease, SessionLease)
        # Longer than the session, so that a short cut of the connection ends no link.
        seconds = self._requester.session_ttl + EXTRA if self._in_session else lease
        self._lease = wire_lease(self._requester, seconds, whole_seconds=True)
        self._scope = trio.CancelScope()

    async def create(self) -> None:
        """Make all links, and renew those of a leaf with a session lease.

        Raises:
            LockError: A node above is held by a lock that is no tree.
        """
        await self._ensure_all()
        if self._in_session and self._leaf.node.parent is not None:
            self._requester.start_soon(self._renew)

    async def extend(self, lease: WireDuration) -> None:
        """Give the links the new lease of the leaf."""
        if not lease.flag & ExpiryFlag.KEEPALIVE:
            self._lease = lease
        await self._ensure_all()

    def stop(self) -> None:
        """Renew no more: the leaf is about to be released."""
        self._scope.cancel()

    @enable_ki_protection
    async def _renew(self) -> None:
        with self._scope:
            while True:
                await trio.sleep(self._requester.session_ttl / SHARE)
                try:
                    await self._ensure_all()
                except trio.ClosedResourceError:
                    return
                except SlockError:
                    # The next attempt comes before the lease of the links ends.
                    continue

    async def _ensure_all(self) -> None:
        node = self._leaf.node
        while node.parent is not None:
            # The link first: the server removes an entry by way of its link.
            await self._ensure(node.key, node.parent.key, _LINK)
            await self._ensure(node.parent.key, node.key, _ENTRY)
            node = node.parent

    async def _ensure(self, key: bytes, lock_id: bytes, flag: int) -> None:
        """Hold ``key`` under ``lock_id``, or renew that."""
        command = self._leaf.link(key, lock_id, flag, self._lease)
        result = await self._requester.request(command, replay=True)
        if result.result not in _LINKED:
            raise refusal(result)


class LeafGrant(Grant):
    """A shared grant in a node of a tree; its release frees the nodes above."""

    _unlock_flag = int(UnlockFlag.TREE)
    links: TreeLinks | None = None

    def lost(self, reason: LossReason) -> None:
        """Note the loss; the links end with their lease."""
        self._stop_links()
        super().lost(reason)

    async def _update(self, lease: WireDuration, data: Data | None) -> bytes | None:
        frame = await super()._update(lease, data)
        if self.links is not None:
            await self.links.extend(lease)
        return frame

    async def _release(self, frame: bytes | None = None) -> None:
        self._stop_links()
        await super()._release(frame)

    def _leave(self) -> Awaitable[LockResult | None]:
        self._stop_links()
        return super()._leave()

    def _stop_links(self) -> None:
        if self.links is not None:
            self.links.stop()


class TreeLeaf(Acquirable):
    """A handle on what can be held in one node of a tree; made by `TreeLock.leaf`.

    Args:
        node: The node.
        options: Those of the node.
    """

    _grant_type = LeafGrant

    def __init__(self, node: TreeLock, options: HandleOptions) -> None:
        options = replace(options, priority=_LEAF_PRIORITY)
        super().__init__(options, count=UNLIMITED_COUNT)
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
            self._remove_orphan_links()
            raise
        assert isinstance(grant, LeafGrant)
        grant.links = TreeLinks(self, self._lease)
        # A leaf without its links protects nothing: it is released if they fail.
        try:
            await grant.links.create()
        except BaseException:
            await release_unusable(grant)
            raise
        return grant

    def _remove_orphan_links(self) -> None:
        """Let the server remove links that only a withdrawn leaf has kept.

        The server does not go upwards when a leaf that was just granted is withdrawn;
        it does when another leaf is released behind it.
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
    nothing is held in it or below, then takes a leaf in it. These are two steps, so
    two tasks that take the same node at the same moment may both get it. Use a `Lock`
    beside the tree where that matters.

    Args:
        options: The key, and how to ask for it; the lease is that of a leaf.
        parent: The node above, None for the root.
    """

    _grant_type = LeafGrant

    def __init__(
        self, options: HandleOptions, *, parent: TreeLock | None = None
    ) -> None:
        super().__init__(options)
        self.requester: Requester = options.requester
        self.parent = parent
        self._leaf = TreeLeaf(self, options)

    def _state(self) -> str:
        parent = "" if self.parent is None else f", below {self.parent.key.hex()}"
        return f"{parent}{super()._state()}"

    def child(self, key: str | bytes) -> TreeLock:
        """Return a node below this one.

        Args:
            key: Its name. A key has one parent: use it below one node.
        """
        return TreeLock(replace(self._options, key=key_of(key)), parent=self)

    def leaf(self) -> TreeLeaf:
        """Return a handle on the leaves of this node; any number may be held."""
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
