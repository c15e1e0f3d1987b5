"""The connection to one member of a replica set.

A `MemberLink` has two users. The replica set keeps it connected and reacts to what
its node reports (``serve``, `Watcher`). The session sends its requests over it while
the member is active (``run`` returns when that is over).

From the moment at which the link is *void* (it broke, or was cut) it delivers
nothing more, though bytes of the same read may follow: a node that has stopped
leading answers waits as it likes. Nor does it send: what is posted until the session
has detached from it counts as not sent.
"""

from __future__ import annotations

from typing import Protocol

import trio

from .._errors import ConnectionLost
from ..protocol import (
    ID_SIZE,
    ClientSide,
    Command,
    CommandType,
    InitResult,
    LeaderResult,
    LockCommand,
    LockResult,
    PlainCommand,
    PlainFrames,
    Result,
    ResultCode,
    UnlockFlag,
    check_frame,
)
from ..transport import Transport
from ._entries import Owner
from ._link import Link
from ._request_table import UNLOCK
from ._topology import Address

_OK = int(ResultCode.SUCCED)
_NO_LEADER = int(ResultCode.STATE_ERROR)
_FORWARD_BROKE = int(ResultCode.ERROR)
_NO_ID = bytes(ID_SIZE)


class Watcher(Protocol):
    """Receives what the node behind a link reports."""

    def opened(self, link: MemberLink) -> None:
        """Note that the link serves from now on."""

    def pushed(self, link: MemberLink, init_type: int) -> None:
        """Note the role that the node reports now."""

    def verified(self, link: MemberLink, number: int) -> None:
        """Note that the leader has answered a probe."""

    def refused(self, link: MemberLink) -> None:
        """Note that the node cannot do what only a leader can."""

    def broken(self, link: MemberLink, error: Exception) -> None:
        """Note that the link is void without having been cut."""


class MemberLink(Link):
    """A link to one member of a replica set.

    Args:
        transport: A connection that is open and has not been used.
        owner: The session.
        address: Host and port of the member.
        watcher: Receives what the member reports.
        heartbeat: As for `Link`.
    """

    tasks: trio.Nursery
    """For tasks that end with the link; exists while it serves."""

    def __init__(
        self,
        transport: Transport,
        owner: Owner,
        *,
        address: Address,
        watcher: Watcher,
        heartbeat: float,
    ) -> None:
        super().__init__(transport, owner, heartbeat=heartbeat)
        self.address = address
        self.void: bool = False
        self._over = trio.Event()
        self._watcher = watcher
        self._probes: dict[bytes, int] = {}
        # Type and request id of commands that the node refused: not executed, so
        # they count as not sent.
        self._refused: set[tuple[int, bytes]] = set()

    async def serve(self) -> None:
        """Serve the connection until it breaks or is cut.

        Cancellation:
            The connection is closed.
        """
        async with trio.open_nursery() as nursery:
            self.tasks = nursery
            self._watcher.opened(self)
            await super().run()
            nursery.cancel_scope.cancel()

    async def run(self) -> None:
        """Send the session's requests until the link is void.

        Cancellation:
            The link is cut.
        """
        try:
            await self._over.wait()
        finally:
            self.cut("the session is over")

    def cut(self, reason: str) -> None:
        """End the connection: nothing is sent or delivered from now on."""
        self.void = True
        super()._break(ConnectionLost(reason))
        self._over.set()

    def _break(self, error: Exception) -> None:
        if not self.void:
            self.cut(str(error) or repr(error))
            self._watcher.broken(self, error)

    # Sending.

    def _post(self, frame: bytes) -> None:
        if self.void:
            check_frame(frame)
            # Kept, so that `retract` finds it: it can be sent again elsewhere.
            self._unsent[frame] = None
        else:
            super()._post(frame)

    def retract(self, command: Command) -> bool:
        """Return whether a command was not sent, or was refused by the node."""
        if isinstance(command, LockCommand):
            name = (command.type, command.request_id)
            if name in self._refused:
                return True
        return super().retract(command)

    async def ask_leader(self) -> Address | None:
        """Return the leader that the node names, None if it names none.

        Raises:
            ConnectionLost: The link broke before the answer.

        Cancellation:
            The answer is dropped when it comes.
        """
        answer = await self.ask(PlainCommand(int(CommandType.LEADER), self.new_id()))
        return parse_address(answer.host) if isinstance(answer, LeaderResult) else None

    def probe(self, number: int) -> None:
        """Ask what only the leader can answer: the release of a key that is free."""
        request_id = self.new_id()
        self._probes[request_id] = number
        flag = int(UnlockFlag.CANCEL_WAIT)
        self.post(LockCommand(UNLOCK, request_id, flag, 0, request_id, request_id))

    # Receiving.

    def succeed(self, frames: ClientSide | PlainFrames) -> int:
        """Hand over plain successes, unless the link is void."""
        return 0 if self.void else super().succeed(frames)

    def receive(self, result: Result) -> None:
        """Hand over a result, unless the link is void or the node refuses."""
        if self.void:
            self.count_stray()
        elif type(result) is LockResult and self._refuses(result):
            self._keep_for_replay(result)
            self._watcher.refused(self)
        else:
            super().receive(result)

    def _refuses(self, result: LockResult) -> bool:
        """Return whether the node reports that it has no leader (any more).

        A follower whose way to the leader broke answers one of the commands
        that it had forwarded, with an otherwise empty result 11. A leader's own
        result 11 has a lock id.
        """
        if result.result == _NO_LEADER:
            return True
        return result.result == _FORWARD_BROKE and result.lock_id == _NO_ID

    def _keep_for_replay(self, result: LockResult) -> None:
        self._probes.pop(result.request_id, None)
        # The entry stays where it is until the link is cut. Result 10 is certain to
        # mean "not executed", result 11 is not.
        if result.result == _NO_LEADER:
            self._refused.add((result.type, result.request_id))

    def unmatched(self, result: Result) -> None:
        """Take a reply without an entry, as to a probe."""
        if (
            type(result) is LockResult
            and result.type == UNLOCK
            and result.request_id in self._probes
        ):
            self._watcher.verified(self, self._probes.pop(result.request_id))
        else:
            super().unmatched(result)

    def node_changed(self, result: InitResult) -> None:
        """Report the role that the node pushed."""
        # With an error it cannot reach the leader that it may still name.
        known = result.result == _OK
        self.init_type: int = result.init_type if known else 0
        self._watcher.pushed(self, self.init_type)


def parse_address(text: str) -> Address | None:
    """Return host and port of ``host:port`` or ``[IPv6]:port``, else None."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not (colon and host and port.isascii() and port.isdigit()):
        return None
    return (host, int(port)) if 1 <= int(port) <= 65_535 else None
