"""A session with a replica set: a link to each member, requests over one of them.

`ReplicaSet` keeps connected to all members and executes the orders of its `Topology`.
`ReplicaSession` is a `ClientSession` whose connections are the links to the set's
active members, one after another. So whatever a session does when its connection
breaks, it does when the leader changes: attempts in doubt are undone at the new
leader, grants are renewed there, and requests that stand by are sent.

Each link has a client id of its own (see ``_client_ids``), so nothing of a link that
was cut goes on with a later one. What a node may keep all the same, a grant with a
lease in seconds, is undone when that node is active again (see ``_leftovers``).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from math import inf

import trio
from trio.lowlevel import enable_ki_protection

from .._errors import ConnectionLost, NoLeader, SlockError
from ..transport import NETWORK_ERRORS, Transport
from ._backoff import Backoff, Retries
from ._client_ids import ClientIds
from ._entries import Owner
from ._leftovers import Leftovers
from ._member import MemberLink
from ._request_table import BaseLink
from ._session import ClientSession, with_new_client_id
from ._settings import SessionSettings, SessionStatistics, reason_of
from ._topology import (
    Address,
    AskLeader,
    Connect,
    Disconnect,
    Order,
    SetState,
    Topology,
)

OpenTransport = Callable[[str, int], Awaitable[Transport]]
"""Opens a connection to a host and port; raises a network error if it cannot."""

LEADERLESS_DELAY = 0.5
"""Longest delay in seconds until a node without a leader is connected again."""

# The session has no delays of its own: the links to the members have theirs.
_AT_ONCE = Backoff(first=0.001, factor=1, limit=0.001, jitter=0)
_FAILURES = (*NETWORK_ERRORS, SlockError, trio.TooSlowError)


class Changes:
    """An async iterator over the states of a replica set, the present one first.

    A slow reader gets the latest state, not each one between, so nothing is queued.
    It ends when the client is closed.
    """

    def __init__(self, replica_set: ReplicaSet) -> None:
        self._set = replica_set
        self._seen = -1

    def __aiter__(self) -> Changes:
        return self

    async def __anext__(self) -> SetState:
        """Wait for the next state.

        Cancellation:
            No change is missed.
        """
        state = await self._set.wait_changed(self._seen)
        if state is None:
            raise StopAsyncIteration
        self._seen = state.changes
        return state


class ReplicaSet:
    """Keep connected to all members; give the session the link of the active one.

    Args:
        addresses: The members known from the start.
        open_transport: Opens a connection to one of them.
        settings: The client's settings; those about connecting are used for each
            member.
        owner: The session.
        heartbeat: As for `Link`; also the seconds between two probes of a
            follower that forwards.
    """

    def __init__(
        self,
        addresses: Iterable[Address],
        open_transport: OpenTransport,
        settings: SessionSettings,
        owner: Owner,
        *,
        heartbeat: float,
    ) -> None:
        if settings.backoff is None:
            raise ValueError("a replica set needs a backoff: its leader may change")
        self._addresses = list(addresses)
        self._open_transport = open_transport
        self._settings = settings
        self._backoff = settings.backoff
        self._owner = owner
        self._client_ids = ClientIds(settings.client_id)
        self._heartbeat = heartbeat
        self._topology = Topology(probe_interval=heartbeat)
        # Links that are open and not void.
        self._links: dict[Address, MemberLink] = {}
        self._nursery: trio.Nursery | None = None
        self._alarm = trio.CancelScope()
        # Replaced by a new event with each change.
        self._changed = trio.Event()
        self._closed = False

    def __repr__(self) -> str:
        return f"<ReplicaSet: {self._topology!r}>"

    @property
    def state(self) -> SetState:
        """The members and their leader, as far as is known now."""
        return self._topology.state

    def add_member(self, host: str, port: int) -> None:
        """Connect to one more member; nothing happens if it is one already.

        Raises:
            ValueError: There are as many members as are kept.
            trio.ClosedResourceError: The client is closed.
        """
        if self._closed:
            raise trio.ClosedResourceError("this client is closed")
        if self._nursery is None:
            self._addresses.append((host, port))
        else:
            self._report(self._topology.add, (host, port))

    def changes(self) -> Changes:
        """Return an async iterator of states, the present one first."""
        return Changes(self)

    async def wait_changed(self, seen: int) -> SetState | None:
        """Wait for a state other than number ``seen``; None at the end.

        Cancellation:
            Nothing has changed.
        """
        await trio.lowlevel.checkpoint()
        while self.state.changes == seen and not self._closed:
            await self._changed.wait()
        return None if self._closed else self.state

    async def active_link(self) -> MemberLink:
        """Wait for a link that can send requests.

        Raises:
            NoLeader: There was none within the time for connecting.

        Cancellation:
            Nothing has changed.
        """
        with trio.move_on_after(self._settings.connect_timeout):
            await trio.lowlevel.checkpoint()
            while self._topology.active is None:
                await self._changed.wait()
            return self._links[self._topology.active]
        raise NoLeader(self.fault)

    @property
    def fault(self) -> str | None:
        """Why requests wait: the state of each member; None while one is active."""
        if self._topology.active is not None:
            return None
        members = ", ".join(
            f"{member.address[0]}:{member.address[1]} is {member.role.value}"
            + (f" ({member.error})" if member.error else "")
            for member in self.state.members
        )
        return f"no member leads, or reaches a leader: {members}"

    # The life of the set.

    @enable_ki_protection
    async def run(self) -> None:
        """Stay connected to all members until cancelled.

        Cancellation:
            All connections are closed.
        """
        try:
            async with trio.open_nursery() as self._nursery:
                for address in self._addresses:
                    self._report(self._topology.add, address)
                await self._keep_time()
        finally:
            self._closed = True
            self._note_change()

    async def _keep_time(self) -> None:
        while True:
            with trio.CancelScope() as self._alarm:
                self._set_alarm()
                await trio.sleep_forever()
            self._report(self._topology.advance)

    def _set_alarm(self) -> None:
        deadline = self._topology.next_deadline()
        self._alarm.deadline = inf if deadline is None else deadline

    @enable_ki_protection
    async def _stay_connected(self, address: Address) -> None:
        retries = Retries(self._backoff)
        while True:
            try:
                link = await self._connect(address)
            except _FAILURES as error:
                self._lose(address, error)
                delay = retries.delay_after(0)
                if isinstance(error, NoLeader):
                    delay = min(delay, LEADERLESS_DELAY)
                await trio.sleep(delay)
                continue
            started_at = trio.current_time()
            await self._serve(link)
            await trio.sleep(retries.delay_after(trio.current_time() - started_at))

    async def _connect(self, address: Address) -> MemberLink:
        with trio.fail_after(self._settings.connect_timeout):
            link = MemberLink(
                await self._open_transport(*address),
                self._owner,
                address=address,
                watcher=self,
                heartbeat=self._heartbeat,
            )
            await link.shake_hands(self._client_ids.next())
        return link

    async def _serve(self, link: MemberLink) -> None:
        try:
            await link.serve()
        finally:
            # Cancelled before the link is void: the session must detach from it.
            link.cut("the client is closed")
            if self._links.pop(link.address, None) is not None:
                self._lose(link.address, ConnectionLost("the client is closed"))

    # Orders of the topology.

    def _report(self, event: Callable[..., list[Order]], *details: object) -> None:
        """Report an event to the topology, and execute what it orders."""
        self._execute(event(*details, trio.current_time()))

    def _execute(self, orders: list[Order]) -> None:
        for order in orders:
            self._execute_one(order)
        self._note_change()

    def _note_change(self) -> None:
        self._set_alarm()
        self._changed.set()
        self._changed = trio.Event()

    def _execute_one(self, order: Order) -> None:
        if isinstance(order, Connect):
            assert self._nursery is not None
            self._nursery.start_soon(self._stay_connected, order.address)
            return
        # An order before this one may have found the link broken.
        link = self._links.get(order.address)
        if link is None:
            return
        if isinstance(order, Disconnect):
            # Removed first: `broken` is for links that nothing has cut.
            del self._links[order.address]
            link.cut(order.reason)
        elif isinstance(order, AskLeader):
            link.tasks.start_soon(self._ask_leader, link)
        else:
            link.probe(order.number)

    @enable_ki_protection
    async def _ask_leader(self, link: MemberLink) -> None:
        leader = await link.ask_leader()
        self._report(self._topology.named, link.address, leader)

    def _lose(self, address: Address, error: Exception) -> None:
        self._report(self._topology.disconnected, address, reason_of(error))

    # Reports of the links: see Watcher.

    def opened(self, link: MemberLink) -> None:
        """Take a link into use."""
        self._links[link.address] = link
        self._report(self._topology.connected, link.address, link.init_type)

    def pushed(self, link: MemberLink, init_type: int) -> None:
        """Note a change of role."""
        # A push that came with the handshake is in `init_type` when the link opens.
        if self._links.get(link.address) is link:
            self._report(self._topology.pushed, link.address, init_type)

    def verified(self, link: MemberLink, number: int) -> None:
        """Note that a follower forwards."""
        self._report(self._topology.verified, link.address, number)

    def refused(self, link: MemberLink) -> None:
        """Note that a member has no leader, whatever it reported before."""
        self._report(self._topology.refused, link.address)

    def broken(self, link: MemberLink, error: Exception) -> None:
        """Note the end of a connection."""
        del self._links[link.address]
        self._lose(link.address, error)


class ReplicaSession(ClientSession):
    """Requests of one client, over one active member of a replica set after another.

    Args:
        addresses: The members known from the start.
        open_transport: Opens a connection to one of them.
        settings: How to behave.
        heartbeat: As for `ReplicaSet`.
    """

    def __init__(
        self,
        addresses: Iterable[Address],
        open_transport: OpenTransport,
        settings: SessionSettings,
        *,
        heartbeat: float,
    ) -> None:
        self._open_transport = open_transport
        self._set_settings = settings
        self._heartbeat = heartbeat
        # `active_link` has the time limit of the settings, and waits for a leader.
        own = replace(settings, connect_timeout=inf, backoff=_AT_ONCE)
        super().__init__(self._next_active_link, own)
        self._leftovers = Leftovers()
        self.replica_set: ReplicaSet = ReplicaSet(
            addresses, open_transport, settings, self, heartbeat=heartbeat
        )

    def fork(self) -> ClientSession:
        """Return another session to the same set, under a client id of its own."""
        members = self.replica_set.state.members
        return ReplicaSession(
            [member.address for member in members],
            self._open_transport,
            with_new_client_id(self._set_settings),
            heartbeat=self._heartbeat,
        )

    def statistics(self) -> SessionStatistics:
        """Return what is under way now, and the members."""
        replica_set = self.replica_set
        return replace(
            super().statistics(), replica_set=replica_set.state, error=replica_set.fault
        )

    @enable_ki_protection
    async def run(self) -> None:
        """Stay connected until cancelled: see `ClientSession.run`."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.replica_set.run)
            await super().run()

    async def _next_active_link(self, _session: ClientSession) -> BaseLink:
        return await self.replica_set.active_link()

    def _attach(self, link: BaseLink) -> None:
        assert isinstance(link, MemberLink)
        # Before the requests that stand by are sent: one of them may be for a key
        # that the node still keeps for this client.
        for command in self._leftovers.take(link.address):
            if not self._table.holds(command.request_id):
                self._table.undo(command)
        super()._attach(link)

    def _detach(self, link: BaseLink) -> None:
        assert isinstance(link, MemberLink)
        self._leftovers.note(link.address, link.attempts())
        super()._detach(link)
