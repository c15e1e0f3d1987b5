"""What handles and grants share, as ``.ci/write_facades.py`` has written them."""

from __future__ import annotations

from .. import primitives as native
from .._errors import LockLost, LossReason
from ..primitives import Flags, Holder, Lease
from ..protocol import Data, DataLike
from ._portal import Portal


class Handle:
    """A key and the way to its server; keeps no state of what is held."""

    def __init__(self, portal: Portal, handle: native.Handle) -> None:
        self._portal = portal
        self._handle = handle

    def __repr__(self) -> str:
        return f"<trioslock.aio: {self._handle!r}>"

    @property
    def key(self) -> bytes:
        """The 16 bytes of the key."""
        return self._handle.key

    @property
    def db(self) -> int:
        """The database, 0 to 254."""
        return self._handle.db


class GrantMethods:
    """One holding of a key, owned by the task that acquired it.

    As an async context manager it releases on exit, and its body is cancelled
    when the grant is lost; `LockLost` is then raised from the exit. A body that
    fails by itself keeps its error, with a note about the loss.

    Entering it does not wait, so a grant cannot get lost between `acquire` and
    the body. While the body runs a lease of seconds is renewed, unless the handle
    says no; and in any case the body is cancelled before the lease can have ended.

    A lease of seconds is counted from the moment at which it was asked for. If the key
    had to be waited for, it began at some time since then; so where more than a third
    of it may have gone by, `acquire` starts it anew before it returns, and asks again
    if it has ended meanwhile. A lease in milliseconds cannot start anew: it is counted
    from the last time at which the server showed that the request still waited.
    """

    def __init__(self, portal: Portal, handle: native.Grant) -> None:
        self._portal = portal
        self._grant_methods = handle

    def __repr__(self) -> str:
        return f"<trioslock.aio: {self._grant_methods!r}>"

    @property
    def token(self) -> int | None:
        """The fencing token, larger than all before it; None without one."""
        return self._grant_methods.token

    @property
    def key(self) -> bytes:
        """The 16 bytes of the key."""
        return self._grant_methods.key

    @property
    def lock_id(self) -> bytes:
        """The 16 bytes under which the server knows this grant."""
        return self._grant_methods.lock_id

    @property
    def loss_reason(self) -> LossReason | None:
        """Why the grant is lost; None if it is not, as known here."""
        return self._grant_methods.loss_reason

    @property
    def data(self) -> Data | None:
        """The value that the key carried when it was granted, or None.

        Raises:
            RemoteProtocolError: It is malformed.
        """
        return self._grant_methods.data

    async def extend(self, lease: Lease) -> None:
        """Replace the lease by one that starts now.

        After a shorter one, a real server that is restarted may take a released key
        again, until the former lease would have ended.

        Args:
            lease: Seconds, rounded up to whole ones; ``FOREVER`` or `SESSION`.

        Raises:
            LockLost: The grant had ended already; nothing is held.
            NotHeld: The grant has been released.
            ConnectionLost: The client does not reconnect.

        Cancellation:
            Held back until the answer is there, for at most the client's
            grace. The lease may have been replaced.
        """
        await self._portal.call(self._grant_methods.extend, lease)

    async def update(self, data: DataLike) -> Data | None:
        """Apply an operation to the key's value; the lease starts again.

        Args:
            data: Operation to apply to the key's value, or the value to set.

        Returns:
            The value before the operation.

        Raises:
            LockLost: The grant had ended already; nothing is held.
            NotHeld: The grant has been released.
            ConnectionLost: The client does not reconnect.

        Cancellation:
            As for `extend`: the operation may have been applied. After a
            broken connection it may be applied twice, which matters for
            ``increment``, ``append``, ``push`` and ``pop``.
        """
        return await self._portal.call(self._grant_methods.update, data)

    async def wait_lost(self) -> LockLost:
        """Wait until the grant is lost; return the error with the reason.

        It waits for ever once the grant has been released.
        """
        return await self._portal.call(self._grant_methods.wait_lost)

    def detach(self) -> None:
        """Leave the key held until its lease ends, even if this client closes.

        No loss is reported any more, and no lease renewed. `release` still works. For
        a grant with a lease of seconds that has not been entered.

        Raises:
            RuntimeError: It has been entered, or would be held for ever.
        """
        self._portal.ask(self._grant_methods.detach)


class AcquirableMethods(Handle):
    """A handle whose grants allow ``count + 1`` holders of ``rcount + 1`` levels."""

    def __init__(self, portal: Portal, handle: native.Acquirable) -> None:
        super().__init__(portal, handle)
        self._acquirable_methods = handle

    @property
    def flags(self) -> Flags:
        """Flags of each request."""
        return self._acquirable_methods.flags

    @property
    def priority(self) -> int | None:
        """Position in the queue, 0 to 255, highest first; None for the end."""
        return self._acquirable_methods.priority

    @property
    def renew(self) -> bool:
        """Whether a lease of seconds is renewed while a body runs."""
        return self._acquirable_methods.renew

    async def show(self) -> Holder | None:
        """Return the first holder of the key, None if the key is free.

        Do not use it on a key that is used as an event: where the key is free, the
        server answers by granting it for no time, which wakes the event's waiters.

        Raises:
            ConnectionLost: The client does not reconnect.
            ClosedResourceError: The client is closed.

        Cancellation:
            Nothing is left on the server.
        """
        return await self._portal.call(self._acquirable_methods.show)

    async def release_head(self) -> None:
        """Release the first holder's grant, whichever client has it.

        For administration: the holder gets no notice, and finds out when it
        releases.

        Raises:
            NotHeld: The key is free.
            ConnectionLost: The connection broke; the outcome is unknown. It is
                not sent again, since that could release the next holder.
            ClosedResourceError: The client is closed.

        Cancellation:
            It may have been done.
        """
        await self._portal.call(self._acquirable_methods.release_head)
