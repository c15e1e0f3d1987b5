"""One engine with its clock and its peers, on a trio loop.

The engine has neither a clock nor callbacks. `EngineHost` gives it both:

- Peers attach with a function that takes results. `HostPeer.submit` gives a command to
  the engine, and each reply to its peer in the engine's order, before it returns.
- `EngineHost.run` sleeps until the engine's next deadline and lets it advance. There
  is no polling: an earlier deadline moves that of the sleeping cancel scope.

All of this happens on the trio thread, between two checkpoints, so no task sees an
engine that has answered half of its peers.

An engine's state can be journaled: `Journal.record` is called after each batch of
commands, before peers that collect their answers are flushed. If it fails, none of them
is answered any more, and `EngineHost.run` raises the error: what cannot be kept must
not be promised. A peer without ``flush`` has its answers before; it is in this process,
and ends with it.

A server handles all commands of one read at once: it submits with ``settle=False``,
and one `EngineHost.settle` at the end flushes each peer that got a result, once.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from typing import Protocol, Self

import trio

from ._ids import random_ids
from .engine import ClosePeer, Engine, EngineLimits, Reply
from .protocol import Command, Result

logger: logging.Logger = logging.getLogger(__name__)


class Journal(Protocol):
    """Keeps the changes of an engine."""

    def record(self, engine: Engine) -> None:
        """Keep the changes since the last call."""
        ...


class HostPeer:
    """One sender of commands that gets results; made by `EngineHost.attach`."""

    __slots__ = ("_host", "attached", "close", "deliver", "flush", "id")

    def __init__(
        self,
        host: EngineHost,
        peer_id: int,
        deliver: Callable[[Result], None],
        close: Callable[[], None],
        flush: Callable[[], None] | None,
    ) -> None:
        self._host = host
        self.id: int = peer_id
        self.attached: bool = True
        self.deliver: Callable[[Result], None] = deliver
        self.close: Callable[[], None] = close
        self.flush: Callable[[], None] | None = flush

    def __repr__(self) -> str:
        state = "attached" if self.attached else "detached"
        return f"<HostPeer {self.id}: {state}>"

    @property
    def engine(self) -> Engine:
        """The engine, for reading; the host alone may change it."""
        return self._host.engine

    def now(self) -> float:
        """Return the time on the engine's clock."""
        return self._host.now()

    def submit(self, command: Command, *, settle: bool = True) -> None:
        """Give the engine a command and deliver all replies.

        Args:
            command: Any command.
            settle: Whether to flush peers and adjust the clock now; False when more
                commands follow at once and `EngineHost.settle` is called after them.

        Raises:
            RuntimeError: The peer is detached.
        """
        host = self._host
        if not self.attached:
            raise RuntimeError("a detached peer cannot submit commands")
        host.dispatch(host.engine.submit(self.id, command, host.now()))
        if settle:
            host.settle()

    def flush_database(self, db: int) -> None:
        """End every hold and wait of a database, and deliver the replies."""
        host = self._host
        host.dispatch(host.engine.flush(db, host.now()))

    def detach(self) -> None:
        """Detach: wills run, keep-alive ends. Detaching twice is allowed."""
        self._host.detach(self)


class EngineHost:
    """Own an engine, its clock and its peers.

    Args:
        engine: The engine; only this host may change it from now on.
        clock: Returns seconds; must be the clock of the trio run, unless `run` is
            never used and the owner calls `advance`.
        journal: Keeps the engine's changes.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        clock: Callable[[], float] = trio.current_time,
        journal: Journal | None = None,
    ) -> None:
        self.engine = engine
        self.now = clock
        self._peers: dict[int, HostPeer] = {}
        # Peers that got a result since they were flushed, in that order.
        self._touched: dict[HostPeer, None] = {}
        # The replies that `dispatch` is walking through.
        self._delivering: list[Reply] | None = None
        # The sleep of `run`: its deadline is the engine's next one.
        self._alarm: trio.CancelScope | None = None
        self._journal = journal
        self._failure: Exception | None = None

    @classmethod
    def of_this_run(
        cls,
        *,
        limits: EngineLimits | None = None,
        subscribe_enabled: bool = False,
        journal: Journal | None = None,
    ) -> Self:
        """Make a host with a new engine, on the clock of the current trio run.

        Times that the engine shows are Unix seconds, as those of a server are.

        Args:
            limits: How much the engine keeps before it refuses.
            subscribe_enabled: Whether the engine takes subscriptions.
            journal: Keeps the engine's changes.
        """
        engine = Engine(
            limits=limits or EngineLimits(),
            wall_offset=time.time() - trio.current_time(),
            subscribe_enabled=subscribe_enabled,
            new_id=random_ids(),
        )
        return cls(engine, journal=journal)

    def __repr__(self) -> str:
        state = "running" if self._alarm is not None else "not running"
        return f"<EngineHost: {len(self._peers)} peers, {state}>"

    @property
    def failed(self) -> bool:
        """Whether the journal has failed: no peer may be answered any more."""
        return self._failure is not None

    @property
    def peers(self) -> int:
        """Number of attached peers."""
        return len(self._peers)

    def attach(
        self,
        deliver: Callable[[Result], None],
        close: Callable[[], None],
        flush: Callable[[], None] | None = None,
    ) -> HostPeer:
        """Add a peer.

        Args:
            deliver: Called with each result for this peer, in order. It must not
                block; it may submit.
            close: Called when this peer's connection is to be closed, after
                everything before has been delivered.
            flush: Called once by `settle` if anything was delivered.
        """
        peer_id = self.engine.add_peer(self.now())
        peer = HostPeer(self, peer_id, deliver, close, flush)
        self._peers[peer_id] = peer
        return peer

    def detach(self, peer: HostPeer) -> None:
        """Remove a peer, and run its wills."""
        if peer.attached:
            peer.attached = False
            del self._peers[peer.id]
            self._touched.pop(peer, None)
            self.dispatch(self.engine.drop_peer(peer.id, self.now()))
            self.settle()

    def dispatch(self, replies: list[Reply]) -> None:
        """Deliver replies in order; those that a delivery causes come after them."""
        # A peer that submits while it takes a result comes back here: the walk below
        # goes on to its replies, so that all peers see the engine's order.
        if self._delivering is not None:
            self._delivering.extend(replies)
            return
        self._delivering = replies
        peers, touched = self._peers, self._touched
        for peer_id, result in replies:
            peer = peers.get(peer_id)
            if peer is None:
                continue
            touched[peer] = None
            try:
                if isinstance(result, ClosePeer):
                    peer.close()
                else:
                    peer.deliver(result)
            except Exception as error:  # noqa: BLE001 - see _expel
                self._expel(peer, error)
        self._delivering = None

    def settle(self) -> None:
        """Flush the peers that got results; move the alarm if the engine needs it."""
        touched = self._touched
        while touched:
            if not self._recorded():
                return
            # A flush may touch more peers: a text connection goes on after its reply.
            peers = list(touched)
            touched.clear()
            for peer in peers:
                self._flush(peer)
        if self._alarm is not None and self._recorded():
            deadline = self._next_deadline()
            if deadline < self._alarm.deadline:
                self._alarm.deadline = deadline

    def _recorded(self) -> bool:
        """Let the journal keep the changes; return whether it has."""
        if self._journal is None:
            return True
        if self._failure is None:
            try:
                self._journal.record(self.engine)
            except Exception as error:  # noqa: BLE001 - raised by `run`
                self._failure = error
                if self._alarm is not None:
                    self._alarm.cancel()
        return self._failure is None

    def advance(self) -> None:
        """Let the engine end whatever is due by now."""
        self.dispatch(self.engine.advance(self.now()))
        self.settle()

    def end_leases(self, db: int, key: bytes) -> None:
        """End the leases of a key now, and deliver the replies."""
        self.dispatch(self.engine.end_leases(db, key, self.now()))
        self.settle()

    async def run(
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Keep the engine's time until cancelled; for ``nursery.start``.

        Raises:
            RuntimeError: It is running already.
            Exception: The error of the journal; no peer was answered after it.

        Cancellation:
            The engine's time stops; held keys and waits stay as they are.
        """
        if self._alarm is not None:
            raise RuntimeError("this EngineHost runs already")
        try:
            self._alarm = trio.CancelScope()
            task_status.started()
            while self._failure is None:
                self._alarm = trio.CancelScope(deadline=self._next_deadline())
                with self._alarm:
                    await trio.sleep_forever()
                self.advance()
            raise self._failure
        finally:
            self._alarm = None

    def _next_deadline(self) -> float:
        deadline = self.engine.next_deadline()
        return math.inf if deadline is None else deadline

    def _flush(self, peer: HostPeer) -> None:
        try:
            if peer.flush is not None and peer.attached:
                peer.flush()
        except Exception as error:  # noqa: BLE001 - see _expel
            self._expel(peer, error)

    def _expel(self, peer: HostPeer, error: Exception) -> None:
        """Close a peer whose code failed, so that the other peers go on."""
        logger.error("%r failed to take a result; closing it", peer, exc_info=error)
        peer.flush = None
        peer.deliver = _ignore
        peer.close()


def _ignore(result: Result) -> None:
    """Drop a result of a peer that has failed."""
