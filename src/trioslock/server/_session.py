"""One connection of a server, without I/O: bytes in, commands to the engine, bytes out.

A binary connection is pipelined: each command goes to the engine as it is read, and
results go out as they come. A text connection runs one command at a time: while a LOCK
waits, what follows stays in the buffer. Both stop while their output is not taken.

Source: snower/slock 2.1.12, ``server/protocol.go`` (``BinaryServerProtocol.Process``,
``TextServerProtocol.Process``).
"""

from __future__ import annotations

from collections.abc import Callable

from .._errors import RemoteProtocolError
from ..host import HostPeer
from ..protocol import (
    NEED_DATA,
    BadHeader,
    CommandType,
    Dialect,
    Event,
    InitCommand,
    LockCommand,
    LockResult,
    PlainCommand,
    PlainResult,
    RespRequest,
    Result,
    ResultCode,
    ServerSide,
    resp,
)
from ._context import ServerContext
from ._resp_commands import CloseAfter, EngineCommand, RespCommands

OUTPUT_PAUSE = 262_144
"""Bytes of output not taken at which a session executes nothing more."""

_BATCH = 256
"""Commands executed in one `ServerSession.pump`."""

_ADMIN = int(CommandType.ADMIN)
_PING = int(CommandType.PING)
_SUCCED = int(ResultCode.SUCCED)


class ServerSession:
    """Answer one connection.

    Order of calls: ``receive_data`` with what was read, ``pump`` until it returns
    False, then ``take_output``. Call ``pump`` again whenever output was taken or a
    result was delivered: it may have stopped for that. When ``closing`` is true and the
    output is written, close the connection.

    Args:
        context: The server.
        new_id: Makes 16 unpredictable bytes, the ids of text commands that have none.
    """

    __slots__ = (
        "_awaited",
        "_output",
        "_peer",
        "_resp",
        "_side",
        "client_id",
        "closing",
        "commands",
        "output_size",
        "pings",
    )

    def __init__(
        self,
        context: ServerContext,
        *,
        new_id: Callable[[], bytes],
    ) -> None:
        self._side = ServerSide()
        self._resp = RespCommands(context, new_id)
        self._peer: HostPeer
        self._output: list[bytes] = []
        # Request id of the text command that waits, and what makes its reply.
        self._awaited: tuple[bytes, resp.Responder] | None = None
        self.output_size: int = 0
        self.closing: bool = False
        self.client_id: bytes = bytes(16)
        self.commands: int = 0
        self.pings: int = 0

    def __repr__(self) -> str:
        state = "closing" if self.closing else "waiting" if self.waiting else "open"
        return f"<ServerSession: {self._side!r}, {state}>"

    @property
    def dialect(self) -> Dialect:
        """The dialect of the connection."""
        return self._side.dialect

    @property
    def buffered(self) -> int:
        """Bytes received that are not executed yet."""
        return self._side.buffered

    @property
    def waiting(self) -> bool:
        """Whether a text command waits for its result, and blocks all behind it."""
        return self._awaited is not None

    def connect(self, peer: HostPeer) -> None:
        """Set the peer of the engine; once, before any bytes."""
        self._peer = self._resp.peer = peer

    def receive_data(self, data: bytes) -> None:
        """Take bytes; ``pump`` executes them."""
        if not self.closing:
            self._side.receive_data(data)

    def pump(self) -> bool:
        """Execute what was received.

        Returns:
            True if it stopped after `_BATCH` commands, or until the output is taken;
            False if it needs more bytes or a result to go on.
        """
        for _ in range(_BATCH):
            if self.output_size >= OUTPUT_PAUSE:
                return True
            if self.closing or self._awaited is not None:
                return False
            try:
                event = self._side.next_event()
            except RemoteProtocolError:
                self.close()
                return False
            if event is NEED_DATA:
                return False
            self._execute(event)
        return True

    def deliver(self, result: Result) -> None:
        """Take a result from the engine."""
        if self._side.dialect is not Dialect.TEXT:
            self._write(self._side.send(result))
            return
        # A text connection gets the result of the command that it waits for and no
        # other: no end of a lease, no result of a PUSH or of a command in the data.
        if (
            self._awaited is not None
            and result.request_id == self._awaited[0]
            and isinstance(result, LockResult)
        ):
            respond = self._awaited[1]
            self._awaited = None
            self._write(respond(result))

    def close(self) -> None:
        """Execute nothing more; output made before is still to be sent."""
        self.closing = True

    def take_output(self) -> bytes:
        """Return and remove the bytes to send."""
        output = b"".join(self._output)
        self._output.clear()
        self.output_size = 0
        return output

    def _write(self, data: bytes) -> None:
        self._output.append(data)
        self.output_size += len(data)

    def _execute(self, event: Event) -> None:
        self.commands += 1
        if isinstance(event, LockCommand):
            self._peer.submit(event, settle=False)
        elif isinstance(event, RespRequest):
            self._execute_resp(event.words)
        elif isinstance(event, BadHeader):
            self._write(self._side.send(event.result))
            self.close()
        elif isinstance(event, PlainCommand) and event.type == _ADMIN:
            # Not by the engine: the side speaks RESP from here on, so `deliver` would
            # drop its result.
            self._write(self._side.send(PlainResult(_ADMIN, event.request_id, _SUCCED)))
        else:
            if isinstance(event, InitCommand):
                self.client_id = event.client_id
            elif isinstance(event, PlainCommand) and event.type == _PING:
                self.pings += 1
            self._peer.submit(event, settle=False)

    def _execute_resp(self, words: list[bytes]) -> None:
        answer = self._resp.run(words)
        if isinstance(answer, bytes):
            self._write(answer)
        elif isinstance(answer, CloseAfter):
            self._write(answer.reply)
            self.close()
        else:
            self._submit_resp(answer)

    def _submit_resp(self, answer: EngineCommand) -> None:
        # Before the submit: the engine may answer within it.
        if answer.respond is None:
            self._write(answer.reply)
        else:
            self._awaited = answer.command.request_id, answer.respond
        self._peer.submit(answer.command, settle=False)
