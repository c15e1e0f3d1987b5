"""One connection: shake hands, write what has gathered, read, stay alive.

Three tasks live as long as the connection: a writer, a reader, a heartbeat.
The first to find the connection broken ends the other two.

Writing costs a system call, and that call is most of the cost of a command. So
a command is sent at once only when nothing else is going on (the last read
brought one reply at most); otherwise it joins what the tasks of this scheduler
pass have gathered, and the writer, woken by the first of them, sends everything
in the next pass with one call.

Reading hands out what has come at once, unless it is a crowd: then the tasks that
it wakes would all run before anything else does, and a `Backlog` gives each key its
turn instead.

Prior art: the coalescing writers of Go's net/http2 and of aiokafka; trio's own
``SocketStream`` has none. A writer woken by ``trio.Event`` costs about twice as
much per wake as the bare ``wait_task_rescheduled`` used here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NoReturn

import trio
from trio.lowlevel import Abort, Task, current_task, reschedule, wait_task_rescheduled

from .._errors import ConnectionLost, NoLeader, RemoteProtocolError, ServerError
from ..protocol import (
    FRAME_SIZE,
    LOCKED,
    PLAIN_SUCCESS,
    UNLOCKED,
    ClientSide,
    Command,
    CommandType,
    InitCommand,
    InitResult,
    NeedData,
    Pattern,
    PlainCommand,
    Result,
    ResultCode,
)
from ..transport import NETWORK_ERRORS, Transport
from ._entries import GivingBack, Taking
from ._fair_queue import Backlog
from ._request_table import Connection, Owner

# More results than this in one read are a crowd, which is handed out a few in each pass
# of the scheduler. How many depends on what the woken tasks do next: 5 us each for one
# that asks for another lock, 100 us where it answers an HTTP request. So the number
# follows the time that the passes take.
_CROWD = 128
_FEWEST = 8
_QUICK_PASS = 0.002
_SLOW_PASS = 0.004


class Link(Connection):
    """An exchange over one transport.

    Args:
        transport: A connection that is open and has not been used.
        owner: The session that the link works for.
        heartbeat: Seconds of silence after which the peer is asked whether it
            lives; after as many more without a byte the connection is dead.
    """

    def __init__(
        self,
        transport: Transport,
        owner: Owner,
        *,
        heartbeat: float,
    ) -> None:
        super().__init__(owner)
        self.init_type: int = 0
        self.round_trip: float | None = None
        self.ended_by: Exception | None = None
        self._transport = transport
        self._heartbeat = heartbeat
        self._side = ClientSide()
        # Frames not sent yet, in order. They are keys of a dict, so that a
        # cancelled one is dropped without a search.
        self._unsent: dict[bytes, None] = {}
        self._writer: Task | None = None
        self._alone = False
        self._backlog = Backlog()
        self._few = 2 * _FEWEST
        self._heard_at = 0.0
        self._scope = trio.CancelScope()

    def __repr__(self) -> str:
        state = "open" if self.ended_by is None else f"ended by {self.ended_by!r}"
        return (
            f"<Link: {state}, {self.in_flight} in flight, {len(self._unsent)} unsent, "
            f"{len(self.held)} held over {self._transport!r}>"
        )

    @property
    def load(self) -> int:
        """Commands not written yet, and withdrawals not answered yet."""
        return len(self._unsent) + self.withdrawing

    @property
    def unsent(self) -> int:
        """Commands not written yet."""
        return len(self._unsent)

    async def shake_hands(self, client_id: bytes) -> None:
        """Send INIT and wait for its answer, before anything else.

        Raises:
            ConnectionLost: The connection ended.
            NoLeader: The node cannot reach a leader.
            ServerError: The node refuses for another reason.
            RemoteProtocolError: The peer does not speak the protocol.

        Cancellation:
            The link is of no use; close it.
        """
        command = InitCommand(self.new_id(), client_id)
        try:
            await self._transport.send_all(self._side.send(command))
            answer, *more = await self._first_results()
        except NETWORK_ERRORS as error:
            raise ConnectionLost(
                f"the connection ended in the handshake: {error}"
            ) from error
        if not isinstance(answer, InitResult):
            raise RemoteProtocolError(f"INIT was answered with {answer!r}")
        if answer.result == ResultCode.STATE_ERROR:
            raise NoLeader("the server cannot reach a leader")
        if answer.result != ResultCode.SUCCED:
            raise ServerError(
                f"INIT was answered with result {answer.result}", result=answer.result
            )
        self.init_type = answer.init_type
        for result in more:
            self.receive(result)

    def node_changed(self, result: InitResult) -> None:
        """Note what the node says of itself now."""
        self.init_type = result.init_type

    async def _first_results(self) -> list[Result]:
        while not (results := self._side.results()):
            data = await self._transport.receive()
            self._side.receive_data(data)
            if not data:
                raise ConnectionLost("the server closed the connection at INIT")
        return results

    async def run(self) -> None:
        """Serve the connection until it ends; ``ended_by`` says of what.

        Cancellation:
            The connection is closed.
        """
        self._alone = True
        self._heard_at = trio.current_time()
        try:
            with self._scope:
                async with trio.open_nursery() as self._services:
                    for service in (self._read, self._write, self._keep_alive):
                        self._services.start_soon(self._guard, service)
        finally:
            with trio.CancelScope(shield=True):
                await self._transport.aclose()

    async def aclose(self) -> None:
        """Close the transport of a link that does not run."""
        await self._transport.aclose()

    async def _guard(self, service: Callable[[], Awaitable[None]]) -> None:
        try:
            await service()
        except (*NETWORK_ERRORS, ConnectionLost, RemoteProtocolError) as error:
            self._break(error)

    def _break(self, error: Exception) -> None:
        if self.ended_by is None:
            self.ended_by = error
        self._scope.cancel()

    # Writing.

    def post(self, command: Command) -> None:
        """Send a command now or with the others of this pass."""
        self._post(self._side.send(command))

    def post_lock(self, pattern: Pattern, attempt: bytes) -> None:
        """Send the LOCK of a pattern now or with the others of this pass."""
        self._post(pattern.lock_frame(attempt))

    def post_unlock(self, pattern: Pattern, attempt: bytes) -> None:
        """Send the UNLOCK of a pattern now or with the others of this pass."""
        self._post(pattern.unlock_frame(attempt))

    def _post(self, frame: bytes) -> None:
        if self._writer is None:
            self._unsent[frame] = None
        elif self._alone and not self._unsent:
            self._alone = False
            self._send_now(frame)
        else:
            self._unsent[frame] = None
            self._wake_writer()

    def _wake_writer(self) -> None:
        if self._writer is not None:
            reschedule(self._writer)
            self._writer = None

    def _send_now(self, frame: bytes) -> None:
        try:
            size = self._transport.send_nowait(frame)
        except OSError as error:
            self._break(error)
            return
        if size < len(frame):
            self._unsent[frame[size:]] = None
            self._wake_writer()

    def retract(self, command: Command) -> bool:
        """Drop a command that has not been written."""
        if not self._unsent:
            return False
        frame = self._side.send(command)
        if frame not in self._unsent:
            return False
        del self._unsent[frame]
        return True

    async def _write(self) -> None:
        while True:
            if not self._unsent:
                self._writer = current_task()
                await wait_task_rescheduled(self._stop_writer)
            data = b"".join(self._unsent)
            self._unsent = {}
            self.owner.room()
            size = self._transport.send_nowait(data)
            if size < len(data):
                await self._transport.send_all(memoryview(data)[size:])

    def _stop_writer(self, _raise_cancel: Callable[[], NoReturn]) -> Abort:
        self._writer = None
        return Abort.SUCCEEDED

    # Reading.

    async def _read(self) -> None:
        try:
            await self._read_on()
        except Exception:
            # The end of the connection came behind them.
            self._hand_out_backlog(len(self._backlog))
            raise

    async def _read_on(self) -> NoReturn:
        while True:
            data = await self._transport.receive()
            self._heard_at = trio.current_time()
            self._side.receive_data(data)
            if not data:
                raise ConnectionLost("the server closed the connection")
            self._alone = len(data) < 2 * FRAME_SIZE
            if len(data) <= _CROWD * FRAME_SIZE and not self._backlog:
                self._hand_out()
                continue
            if not self._backlog:
                self._services.start_soon(self._guard, self._hand_out_in_turns)
            for result in self._side.results():
                self._backlog.add(result)

    async def _hand_out_in_turns(self) -> None:
        while self._backlog:
            self._hand_out_backlog(self._few)
            began_at = trio.current_time()
            await trio.lowlevel.checkpoint()
            took = trio.current_time() - began_at
            if took < _QUICK_PASS:
                self._few = min(2 * self._few, _CROWD)
            elif took > _SLOW_PASS:
                self._few = max(self._few // 2, _FEWEST)

    def _hand_out_backlog(self, count: int) -> None:
        for result in self._backlog.take(count):
            self.receive(result)

    def _hand_out(self) -> None:
        """Hand what has been read to the entries, in its order."""
        side = self._side
        while True:
            side.skip(self.succeed())
            result = side.next_event()
            if isinstance(result, NeedData):
                return
            self.receive(result)

    def succeed(self) -> int:
        """Hand the plain successes that come next to their entries.

        Returns:
            How many there were.
        """
        # Spelled out, and without a LockResult for each: this is the hot path.
        locks, unlocks, held = self.locks, self.unlocks, self.held
        number = 0
        for head, request_id, rest in self._side.heads():
            if rest != PLAIN_SUCCESS:
                break
            if head == UNLOCKED:
                entry = unlocks.get(request_id)
                if type(entry) is GivingBack:
                    del unlocks[request_id]
                    reschedule(entry.task, entry)
                    number += 1
                    continue
            elif head == LOCKED:
                entry = locks.get(request_id)
                # Asked for anew, it has an id that its holder does not know yet.
                if type(entry) is Taking and entry.attempt == request_id:
                    del locks[request_id]
                    held[request_id] = entry
                    reschedule(entry.task, entry)
                    number += 1
                    continue
            else:
                break
            self.receive(self._side.success(number))
            number += 1
            if self.ended_by is not None:
                break
        return number

    # Staying alive.

    async def _keep_alive(self) -> None:
        while True:
            quiet_until = self._heard_at + self._heartbeat
            await trio.sleep_until(quiet_until)
            if self._heard_at + self._heartbeat > quiet_until:
                continue
            asked_at = trio.current_time()
            with trio.move_on_after(self._heartbeat):
                await self.ask(PlainCommand(CommandType.PING, self.new_id()))
                self.round_trip = trio.current_time() - asked_at
            if self._heard_at < asked_at:
                raise ConnectionLost(
                    f"the server gave no sign of life for {2 * self._heartbeat:g} s"
                )
