"""One connection over a transport: handshake, writing, reading, heartbeat.

Three tasks live as long as the connection: a writer, a reader, a heartbeat.
The first one to find the connection broken ends the other two.

Writing costs a system call, and that call is most of the cost of a command. So
a command is sent at once only when the link is idle (the last read brought one
reply at most). Otherwise it joins the commands of this scheduler pass, and the
writer, woken by the first of them, sends all of them in the next pass with one call.

Reading delivers what has arrived at once, unless it is a large read: then the tasks
that it wakes would all run before any other task, and a `FairQueue` spreads them
over several passes.

Prior art: the coalescing writers of Go's net/http2 and of aiokafka; trio's own
``SocketStream`` has none. A writer woken by ``trio.Event`` costs about twice as
much per wake as the bare ``wait_task_rescheduled`` used here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NoReturn, cast

import trio
from trio.lowlevel import Abort, Task, current_task, reschedule, wait_task_rescheduled

from .._errors import ConnectionLost, NoLeader, RemoteProtocolError, ServerError
from ..protocol import (
    FRAME_HEAD,
    FRAME_SIZE,
    LOCKED,
    MAY_HAVE_TRAILER,
    PLAIN_SUCCESS,
    UNLOCKED,
    ClientSide,
    Command,
    CommandType,
    InitCommand,
    InitResult,
    LockFlag,
    NeedData,
    PlainCommand,
    PlainFrames,
    PreparedLock,
    Result,
    ResultCode,
    check_frame,
    encode_command,
)
from ..transport import NETWORK_ERRORS, Transport
from ._entries import (
    BegunLock,
    BegunUnlock,
    Owner,
    PendingPreparedLock,
    PendingPreparedUnlock,
)
from ._fair_queue import FairQueue
from ._request_table import BaseLink, CallSoon

_DATA = int(LockFlag.DATA)
# More results than this in one read are delivered in batches, one in each pass of the
# scheduler. The best size of a batch depends on what the woken tasks do next: 5 us each
# for one that requests another lock, 100 us where it answers an HTTP request. So the
# size follows the measured length of the passes.
_LARGE_READ = 128
_SMALLEST_BATCH = 8
_SHORT_PASS = 0.002
_LONG_PASS = 0.004


class Link(BaseLink):
    """A request table over one transport.

    Args:
        transport: A connection that is open and has not been used.
        owner: The session that the link works for.
        heartbeat: Seconds of silence after which the peer gets a PING; after as many
            more without a byte the connection counts as dead.
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
        # The writer while it waits for frames. None also before it has started and
        # while it writes: then frames are only collected.
        self._writer: Task | None = None
        # Set in guest mode: calls `_flush` in the next pass of the host's loop.
        self._call_soon: CallSoon | None = None
        self._flush_due = False
        self._idle = False
        self._queue = FairQueue()
        self._batch_size = 2 * _SMALLEST_BATCH
        self._received_at = 0.0
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

    async def shake_hands(self, client_id: bytes) -> None:
        """Send INIT and wait for its answer, before anything else.

        Raises:
            ConnectionLost: The connection ended.
            NoLeader: The node cannot reach a leader.
            ServerError: The node refuses for another reason.
            RemoteProtocolError: The peer does not speak the protocol.

        Cancellation:
            The connection is closed, as it is after an error.
        """
        try:
            await self._shake_hands(client_id)
        except BaseException:
            with trio.CancelScope(shield=True):
                await self.aclose()
            raise

    async def _shake_hands(self, client_id: bytes) -> None:
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
        """Keep the role that the node reports."""
        self.init_type = result.init_type

    async def _first_results(self) -> list[Result]:
        while not (results := self._side.results()):
            data = await self._transport.receive()
            self._side.receive_data(data)
            if not data:
                raise ConnectionLost("the server closed the connection at INIT")
        return results

    async def run(self) -> None:
        """Serve the connection until it ends; ``ended_by`` gives the reason.

        Cancellation:
            The connection is closed.
        """
        self._idle = True
        self._received_at = trio.current_time()
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
        # The first error is the cause; the others follow from the broken connection.
        if self.ended_by is None:
            self.ended_by = error
        self._scope.cancel()

    # Writing.

    def post(self, command: Command) -> None:
        """Send a command now or with the others of this pass."""
        self._post(encode_command(command))

    def post_lock(self, prepared: PreparedLock, attempt: bytes) -> None:
        """Send the LOCK of a prepared lock now or with the others of this pass."""
        self._post(prepared.lock_frame(attempt))

    def post_unlock(self, prepared: PreparedLock, attempt: bytes) -> None:
        """Send the UNLOCK of a prepared lock now or with the others of this pass."""
        self._post(prepared.unlock_frame(attempt))

    def _post(self, frame: bytes) -> None:
        # A frame that is not whole would make the peer misread all that follows on this
        # connection, which all tasks share. Inline: this is the hot path.
        if (
            type(frame) is not bytes
            or len(frame) != FRAME_SIZE
            or frame[:2] != FRAME_HEAD
            or frame[MAY_HAVE_TRAILER] & _DATA
        ):
            check_frame(frame)
        if self._writer is None:
            self._unsent[frame] = None
        elif self._idle and not self._unsent:
            # Once for each read: the next command in this pass is collected.
            self._idle = False
            self._send_now(frame)
        else:
            self._unsent[frame] = None
            self._collected()

    def write_by(self, call_soon: CallSoon) -> None:
        """Write from the host's loop: see `BaseLink.write_by`."""
        self._call_soon = call_soon

    def _collected(self) -> None:
        """Let the frames of this pass be written in the next one."""
        if self._call_soon is None:
            self._wake_writer()
        elif not self._flush_due:
            self._flush_due = True
            self._call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_due = False
        # A writer that is busy takes what was collected meanwhile.
        if self._unsent and self._writer is not None and self.ended_by is None:
            data = b"".join(self._unsent)
            self._unsent = {}
            self.owner.load_reduced()
            self._send_now(data)

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
        # A frame whose first part was written is not found here: it counts as sent.
        frame = encode_command(command)
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
            self.owner.load_reduced()
            size = self._transport.send_nowait(data)
            if size < len(data):
                await self._transport.send_all(memoryview(data)[size:])

    def _stop_writer(self, _raise_cancel: Callable[[], NoReturn]) -> Abort:
        self._writer = None
        return Abort.SUCCEEDED

    # Reading.

    async def _read(self) -> NoReturn:
        try:
            while True:
                data = await self._transport.receive()
                self._received_at = trio.current_time()
                self._side.receive_data(data)
                if not data:
                    raise ConnectionLost("the server closed the connection")
                self._idle = len(data) < 2 * FRAME_SIZE
                if len(data) <= _LARGE_READ * FRAME_SIZE and not self._queue:
                    self._deliver()
                else:
                    self._enqueue()
        except Exception:
            # The queued results came before the end of the connection, so their tasks
            # get them and not ConnectionLost.
            self._deliver_queued(len(self._queue))
            raise

    def _enqueue(self) -> None:
        # While anything is queued, everything is: a result of the same key must not
        # overtake it.
        if not self._queue:
            self._services.start_soon(self._guard, self._deliver_in_batches)
        side, queue = self._side, self._queue
        while True:
            for frame in side.take_plain():
                queue.add(frame)
            event = side.next_event()
            if isinstance(event, NeedData):
                return
            queue.add(event)

    async def _deliver_in_batches(self) -> None:
        while self._queue:
            # The functions that results are given to count as well as the tasks.
            began_at = trio.current_time()
            self._deliver_queued(self._batch_size)
            await trio.lowlevel.checkpoint()
            took = trio.current_time() - began_at
            if took < _SHORT_PASS:
                self._batch_size = min(2 * self._batch_size, _LARGE_READ)
            elif took > _LONG_PASS:
                self._batch_size = max(self._batch_size // 2, _SMALLEST_BATCH)

    def _deliver_queued(self, count: int) -> None:
        run: list[bytes] = []
        for item in self._queue.take(count):
            if type(item) is bytes:
                run.append(item)
            else:
                self._deliver_plain(run)
                self.receive(cast(Result, item))
        self._deliver_plain(run)

    def _deliver_plain(self, run: list[bytes]) -> None:
        frames = PlainFrames(run)
        run.clear()
        # What is left of a link that has broken meanwhile is not delivered at once.
        for number in range(self.succeed(frames), len(frames)):
            self.receive(frames.success(number))

    def _deliver(self) -> None:
        """Hand what has been read to the entries, in its order."""
        side = self._side
        while side.skip(self.succeed(side)):
            result = side.next_event()
            if isinstance(result, NeedData):
                return
            self.receive(result)

    def succeed(self, frames: ClientSide | PlainFrames) -> int:
        """Hand the plain successes that come next to their entries.

        Args:
            frames: Where they are.

        Returns:
            How many there were.
        """
        # The hot path of a client: no LockResult and no call for each of them.
        locks, unlocks, held = self.locks, self.unlocks, self.held
        number = 0
        for head, request_id, rest in frames.heads():
            if rest != PLAIN_SUCCESS:
                break
            if head == UNLOCKED:
                entry = unlocks.get(request_id)
                if type(entry) is PendingPreparedUnlock:
                    del unlocks[request_id]
                    reschedule(entry.task, entry)
                    number += 1
                    continue
                if type(entry) is BegunUnlock:
                    del unlocks[request_id]
                    entry.wake(None)
                    number += 1
                    continue
            elif head == LOCKED:
                entry = locks.get(request_id)
                # An attempt that was sent again has an id that its task does not
                # know: it gets the whole result.
                if type(entry) is PendingPreparedLock and entry.attempt == request_id:
                    del locks[request_id]
                    held[request_id] = entry
                    reschedule(entry.task, entry)
                    number += 1
                    continue
                if type(entry) is BegunLock and entry.attempt == request_id:
                    del locks[request_id]
                    held[request_id] = entry
                    entry.wake(None)
                    number += 1
                    continue
            else:
                break
            self.receive(frames.success(number))
            number += 1
            # `receive` may have broken the link: the rest is not delivered.
            if self.ended_by is not None:
                break
        return number

    # Heartbeat.

    async def _keep_alive(self) -> None:
        while True:
            silent_until = self._received_at + self._heartbeat
            await trio.sleep_until(silent_until)
            # Bytes that arrived meanwhile have moved the end of the silence.
            if self._received_at + self._heartbeat > silent_until:
                continue
            asked_at = trio.current_time()
            with trio.move_on_after(self._heartbeat):
                await self.ask(PlainCommand(CommandType.PING, self.new_id()))
                self.round_trip = trio.current_time() - asked_at
            # Any byte proves that the peer lives: a PING may wait behind much data.
            if self._received_at < asked_at:
                raise ConnectionLost(
                    f"the server sent nothing for {2 * self._heartbeat:g} s, "
                    "not even an answer to a PING"
                )
