"""The interface between primitives and the connection that sends their commands.

A primitive builds `LockCommand` tuples and hands them to a `Requester`. It does
not know whether they go to a server over TCP, to one of several nodes, or to an
engine in this process. What it may rely on:

**Ids.** ``new_id()`` gives 16 bytes that no other attempt of any client has:
a random prefix and a counter. *One attempt uses one id*: as request id and as
lock id of its LOCK, and as request id of the UNLOCK that ends it (replies are
matched by type and id). The last two bytes are zero; ``follow_up(id)`` fills
them in for further LOCKs about the same grant (UPDATE), so that a notice that
carries any of them finds its grant.

**Waiting for a grant** is ``acquire(command, listener)``. The wait is withdrawn on
the server when it is cancelled, and the ``listener`` gets the loss of the grant
reported.

**Everything else** is ``request(command)``: one command, one answer, at once.

**Releasing** is ``release(command)``: it ends the notices, and a cancelled
release still gets its answer within the client's grace.

What happens to each when the connection breaks:

===========  ==========================================================
``acquire``  Replayed: the old attempt is undone by its lock id, then a
             new one is made under a fresh id; so *use the ids of the
             result*. The place in the queue is lost. With
             ``replay=False``: ``ConnectionLost``.
``request``  ``ConnectionLost`` if it may have reached the server, unless
             ``replay=True`` states that doing it twice does no harm.
``release``  Replayed: an UNLOCK of one's own lock id frees that grant or
             nothing. Gives up with ``ConnectionLost`` after
             ``session_ttl``.
held grants  Renewed, so that session leases follow the new connection and
             the server's notices find it; a lease in seconds starts anew.
             If the server denies it, the loss is reported.
===========  ==========================================================

While there is no connection, ``acquire`` and ``request`` wait for one before
anything is sent, within the caller's cancel scope.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

import outcome

from .._errors import LossReason
from ..protocol import (
    Command,
    LockCommand,
    LockResult,
    PreparedLock,
    Result,
    WireDuration,
)

SEQUENCE_BYTES = 2
"""Bytes at the end of an id that number the follow-ups of one attempt."""

_NO_SEQUENCE = bytes(SEQUENCE_BYTES)


def attempt_of(request_id: bytes) -> bytes:
    """Return the id of the attempt that a request belongs to."""
    return request_id[:-SEQUENCE_BYTES] + _NO_SEQUENCE


class LossListener(Protocol):
    """Gets the loss of a grant reported."""

    def lost(self, reason: LossReason) -> None:
        """Note the loss. Called at most once for a grant, on the trio thread.

        It may be called before the task that waited for the grant has run.
        """
        ...


class Expectation(Protocol):
    """An answer that is to come; one task may wait for it."""

    async def wait(self) -> LockResult:
        """Wait for the answer, whatever its result code.

        Raises:
            ConnectionLost: The connection broke; the command may have run.
            trio.ClosedResourceError: The client is closed.

        Cancellation:
            The answer is dropped when it comes.
        """
        ...

    def forget(self) -> None:
        """Expect the answer no longer. Forgetting twice is allowed."""
        ...


WaitEnded = Callable[[outcome.Outcome[LockResult]], object]
"""Gets the answer to a LOCK for which no task waits, or the error in its place.

It is called once, on the trio thread, by the task that reads the connection: it must
return at once and must not raise.
"""


PreparedEnded = Callable[[outcome.Outcome[LockResult | None]], object]
"""As `WaitEnded`; the answer is None where it has nothing to add."""


class BegunWait(Protocol):
    """A LOCK that waits on the server, and for which no task waits here."""

    def withdraw(self) -> None:
        """End the wait, here and on the server; does nothing after its end."""
        ...


class BegunRelease(Protocol):
    """An UNLOCK for whose answer no task waits."""

    def leave(self) -> None:
        """Let it take effect without its caller; its answer is dropped."""
        ...


class Requester(Protocol):
    """Send commands to a server, and return its answer to each."""

    @property
    def session_ttl(self) -> float:
        """Seconds that waits and session leases outlive their connection."""
        ...

    @property
    def wait(self) -> WireDuration:
        """Timeout of a LOCK whose wait goes on as long as the connection."""
        ...

    @property
    def session_lease(self) -> WireDuration:
        """Lease of a LOCK that is held as long as the connection."""
        ...

    def new_id(self) -> bytes:
        """Return 16 bytes for one attempt, different from all others."""
        ...

    def follow_up(self, request_id: bytes) -> bytes:
        """Return the next request id for a grant made under ``request_id``."""
        ...

    async def acquire(
        self,
        command: LockCommand,
        listener: LossListener | None = None,
        *,
        replay: bool = True,
    ) -> LockResult:
        """Send a LOCK and wait for its answer, however long that takes.

        There is no checkpoint between the answer and the return: a grant is
        returned even if the scope is cancelled meanwhile.

        Args:
            command: A LOCK. Its lock id is renewed at a replay if it is equal
                to its request id, else kept.
            listener: Gets the loss of the grant reported, until ``release`` or
                ``forget``. None for waits that hold nothing (lease 0).
            replay: Make a new attempt after a broken connection.

        Returns:
            The answer, whatever its result code. ``request_id`` and ``lock_id``
            in it are those of the attempt that was answered.

        Raises:
            ConnectionLost: The connection broke and ``replay`` is off, or the
                client does not reconnect.
            LocalProtocolError: The protocol cannot carry the command.
            trio.ClosedResourceError: The client is closed.

        Cancellation:
            Nothing is left: what was not sent is dropped; what was sent is
            withdrawn behind it on the same connection, and released if the
            grant crossed the withdrawal.
        """
        ...

    def begin_acquire(self, command: LockCommand, ended: WaitEnded) -> BegunWait:
        """Send a LOCK as ``acquire`` does, and return at once.

        Args:
            command: A LOCK whose grant holds nothing (lease 0).
            ended: Gets the answer, whatever its result code; or the error that
                ``acquire`` raises.

        Raises:
            trio.WouldBlock: Too much is under way: ``acquire`` waits for room first.
            ConnectionLost: The client does not reconnect.
            LocalProtocolError: The protocol cannot carry the command.
            trio.ClosedResourceError: The client is closed.
        """
        ...

    def acquire_prepared(
        self, prepared: PreparedLock, attempt: bytes, listener: LossListener
    ) -> Awaitable[LockResult | None]:
        """Send a prepared LOCK: as ``acquire`` with replay, but faster.

        It is sent before the return; await the result at once.

        Args:
            prepared: The LOCK, but for its id.
            attempt: A new id.
            listener: Gets the loss of the grant reported.

        Returns:
            The answer, whatever its result code; or None for a grant under the id
            ``attempt`` whose answer has nothing to add.
        """
        ...

    def release_prepared(
        self, prepared: PreparedLock, attempt: bytes
    ) -> Awaitable[LockResult | None]:
        """Send a prepared UNLOCK: as ``release``, but faster.

        It is sent before the return; await the result at once.

        Returns:
            The answer; or None for a release whose answer has nothing to add.
        """
        ...

    @property
    def ready(self) -> bool:
        """Whether there is a connection with room, as `begin_prepared` needs it."""
        ...

    def begin_prepared(
        self,
        prepared: PreparedLock,
        attempt: bytes,
        listener: LossListener,
        ended: PreparedEnded,
    ) -> BegunWait:
        """Send a prepared LOCK and return; for callers that are no trio tasks.

        Args:
            prepared: The LOCK, but for its id.
            attempt: A new id.
            listener: Gets the loss of the grant reported.
            ended: Gets what ``acquire_prepared`` returns or raises.
        """
        ...

    def begin_release(
        self, prepared: PreparedLock, attempt: bytes, ended: PreparedEnded
    ) -> BegunRelease:
        """Send a prepared UNLOCK and return; for callers that are no trio tasks.

        Args:
            prepared: The lock.
            attempt: The id of its grant.
            ended: Gets what ``release_prepared`` returns or raises.
        """
        ...

    async def request(
        self, command: LockCommand, *, replay: bool = False, linger: bool = False
    ) -> LockResult:
        """Send a command that the server answers at once.

        Args:
            command: A LOCK with timeout 0, or an UNLOCK.
            replay: Send it again after a broken connection, because doing it
                twice does no harm.
            linger: Hold a cancellation back until the answer is there, for at
                most the client's grace.

        Returns:
            The answer, whatever its result code.

        Raises:
            ConnectionLost: The connection broke; the outcome is unknown.
            LocalProtocolError: The protocol cannot carry the command.
            trio.ClosedResourceError: The client is closed.

        Cancellation:
            A command that was not sent is dropped. One that was sent takes
            effect, and its answer is dropped.
        """
        ...

    async def update(self, command: LockCommand) -> LockResult:
        """Send a LOCK with the update flag about a grant of one's own.

        Like ``request`` with ``replay`` and ``linger``. An answer of 0 means
        that the grant had been lost and is held anew; if the caller is gone by
        then, it is released here.

        Args:
            command: Its request id comes from ``follow_up``.
        """
        ...

    async def release(self, command: LockCommand) -> LockResult:
        """Send the UNLOCK that ends a grant, and report no loss of it any more.

        Args:
            command: An UNLOCK whose request id is that of the grant.

        Returns:
            The answer. After a replay, "not held" is turned into success: the
            first attempt may have released it.

        Raises:
            ConnectionLost: There was no connection for ``session_ttl``: a
                session lease has ended by itself.
            trio.ClosedResourceError: The client is closed.

        Cancellation:
            Held back until the answer is there, for at most the client's
            grace. The UNLOCK takes effect in any case.
        """
        ...

    def forget(self, request_id: bytes) -> None:
        """End the notices about a grant that ends without a release."""
        ...

    def post(self, command: LockCommand) -> None:
        """Send a command without waiting for its answer.

        It goes behind everything sent before, withdrawals included. Without
        a connection it is dropped.

        Args:
            command: A LOCK with timeout 0 and lease 0, or an UNLOCK: nothing
                that could leave something behind.
        """
        ...

    def expect(self, command: LockCommand) -> Expectation:
        """Expect the answer to a command that the next one brings along.

        Args:
            command: A LOCK or UNLOCK that is in the data (EXECUTE) of the command
                that is sent next. Use ``replay=False`` for that one: what it
                brings along would be done twice.
        """
        ...

    def start_soon(self, task: Callable[[], Awaitable[None]]) -> None:
        """Run a task beside the others of the client, until the client ends.

        Args:
            task: It must not raise: that would end the client.
        """
        ...

    async def ask(self, command: Command) -> Result:
        """Send a command that is no LOCK or UNLOCK; return its answer.

        Raises:
            ConnectionLost: The connection broke before the answer.
            trio.ClosedResourceError: The client is closed.

        Cancellation:
            The answer is dropped when it comes.
        """
        ...
