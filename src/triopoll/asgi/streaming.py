"""The body of a streaming response, from its pieces to the messages of ASGI."""

from __future__ import annotations

import math
from collections.abc import Callable

import trio

from .messages import StreamingResponse
from .types import Send

__all__ = ["PieceWriter", "StreamBroken"]

_CUT = "an earlier piece of the body was cut"
_NOT_READ = "the client has not read a piece of the body in time"


class StreamBroken(ConnectionAbortedError):
    """No more of a streaming response can be sent: the connection has to be closed."""


class PieceWriter:
    """A `StreamWriter` over ASGI's `send`.

    The head is sent with the first piece. So a body that fails before that can still be
    answered with an error, and most servers send both with one write.

    Attributes:
        started: The head has been sent, or is being sent.
    """

    __slots__ = (
        "_finish",
        "_is_cut",
        "_response",
        "_seconds",
        "_send",
        "_sent",
        "started",
    )

    def __init__(
        self,
        send: Send,
        response: StreamingResponse,
        finish: Callable[[], None],
        sent: Callable[[float], None],
        seconds: float = math.inf,
    ) -> None:
        """Send nothing yet.

        Args:
            send: ASGI's.
            response: Has the head.
            finish: Called once, before the head is sent; may change it.
            sent: Called when a piece that a wait was woken for is with the connection.
            seconds: The client may take so long to read a piece.
        """
        self.started = False
        self._send = send
        self._response = response
        self._finish = finish
        self._sent = sent
        self._seconds = seconds
        # A cancelled send may have written a part, and what follows would be read as
        # the rest of it.
        self._is_cut = False

    def __repr__(self) -> str:
        state = "cut" if self._is_cut else "started" if self.started else "not started"
        return f"<PieceWriter: {state}>"

    async def send(self, piece: bytes, woken: float | None = None) -> None:
        """Send a piece of the body; see `StreamWriter`."""
        if piece:
            await self._send_body(piece, more=True)
        if woken is not None:
            self._sent(woken)
        # Servers need not wait, and a body of many pieces would let no other task run.
        await trio.lowlevel.checkpoint()

    async def end(self) -> None:
        """Send the end of the body, and the head if there was no piece.

        Raises:
            StreamBroken: As `send`.

        Cancellation:
            The response may not have been ended, and the server breaks the connection.
        """
        await self._send_body(b"", more=False)

    async def _send_body(self, piece: bytes, *, more: bool) -> None:
        if self._is_cut:
            raise StreamBroken(_CUT)
        self._is_cut = True
        with trio.move_on_after(self._seconds) as limit:
            try:
                if not self.started:
                    await self._start()
                message = {"type": "http.response.body", "body": piece}
                await self._send({**message, "more_body": more})
            except OSError as error:
                raise StreamBroken(str(error)) from error
            self._is_cut = False
        if limit.cancelled_caught:
            raise StreamBroken(_NOT_READ)

    async def _start(self) -> None:
        self.started = True
        self._finish()
        head = {"status": self._response.status, "headers": [*self._response.headers]}
        await self._send({"type": "http.response.start", **head})
