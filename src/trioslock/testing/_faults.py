"""A stream that a test can break."""

from __future__ import annotations

import math
from collections.abc import Callable

import trio


class FaultyStream(trio.abc.Stream):
    """A stream over another one, which can be cut, hung, delayed and garbled.

    ``sends`` and ``receives`` count *messages*, not bytes: one ``send_all`` is one, and
    so is one successful ``receive_some``.

    Args:
        stream: The inner stream.
        cut: Ends the inner stream at once for both sides, without waiting.
        sends: Messages that are sent before the stream is cut. The last one arrives,
            and its sender gets no error.
        receives: Messages that are received before the stream is cut.
    """

    def __init__(
        self,
        stream: trio.abc.Stream,
        cut: Callable[[], None],
        *,
        sends: float = math.inf,
        receives: float = math.inf,
    ) -> None:
        self.sent: int = 0
        self.received: int = 0
        self._stream = stream
        self._cut = cut
        self._sends = sends
        self._receives = receives
        self._thawed = trio.Event()
        self._thawed.set()
        self._holds_sends = True
        self._is_cut = False
        self._delay = 0.0
        # Around the delay that is under way.
        self._pause = trio.CancelScope()
        self._garbage = b""
        # Read from the inner stream, and not received yet.
        self._arrived: bytes | bytearray = b""

    def __repr__(self) -> str:
        return f"<FaultyStream: {self.sent} sent, {self.received} received>"

    def cut(self) -> None:
        """Break the stream now, for both sides; what is held back is lost."""
        self._is_cut = True
        self._cut()
        self._thawed.set()

    def hang(self, *, sends: bool = True) -> None:
        """Hold everything back until `thaw`.

        Args:
            sends: Whether what is sent is held back, too; if False, it arrives, and
                its answers do not.
        """
        self._thawed = trio.Event()
        self._holds_sends = sends

    def thaw(self) -> None:
        """Let through what was held back, and everything after it."""
        self._thawed.set()

    def delay(self, seconds: float) -> None:
        """Let each message take so many seconds, on trio's clock, to be received.

        Args:
            seconds: 0 ends that, for the message that is under way too.
        """
        self._delay = seconds
        if not seconds:
            self._pause.cancel()

    def garble(self, garbage: bytes) -> None:
        """Insert bytes before those that are received next."""
        self._garbage = garbage

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send one message, unless the stream is cut."""
        if self._holds_sends:
            await self._thawed.wait()
        await self._stream.send_all(data)
        self.sent += 1
        if self.sent >= self._sends:
            self.cut()

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until the inner stream has room."""
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Receive one message, unless the stream is cut.

        Cancellation:
            Nothing is received; what has arrived is for the next call.
        """
        if not self._arrived:
            self._arrived = await self._stream.receive_some(max_bytes)
        if self._delay:
            with trio.CancelScope() as self._pause:
                await trio.sleep(self._delay)
        # After the read: what arrived before `hang` is held back too.
        await self._thawed.wait()
        if self._is_cut or self.received >= self._receives:
            self.cut()
            raise trio.BrokenResourceError("the stream was cut")
        self.received += 1
        data, self._arrived = self._garbage + self._arrived, b""
        self._garbage = b""
        return data

    async def aclose(self) -> None:
        """Close the inner stream."""
        await self._stream.aclose()
