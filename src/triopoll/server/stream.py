"""One client's socket, with limits that a hostile client cannot exceed.

Reads report a client that has left in one way, writes have a deadline, and after a
write that was cut short nothing more is written: half an answer must not be followed by
another one.
"""

from __future__ import annotations

import fcntl
import math
import os
import socket
import struct
import termios

import trio

from .errors import PeerGone
from .send_budget import SendBudget

__all__ = ["ClientStream"]

_READ_BYTES = 64 * 1024
# Seconds between two looks whether what was written has been acknowledged. Most peers
# have done so at once, or with the next thing that they send.
_FIRST_PAUSE = 0.002
_LAST_PAUSE = 0.1
# With this value of SO_LINGER, close() sends RST at once and drops what is unsent.
_ABORT = struct.pack("ii", 1, 0)

_LEFT = "the client has left"


class ClientStream:
    """One connected socket.

    Attributes:
        alive: False when the client has left or a write has failed.
        awaits_acknowledgement: A task is in `wait_acknowledged`.
    """

    __slots__ = (
        "_send_budget",
        "_send_lock",
        "_socket",
        "_write_deadline",
        "alive",
        "awaits_acknowledgement",
    )

    def __init__(
        self, stream: trio.SocketStream, write_deadline: float, budget: SendBudget
    ) -> None:
        self._socket = stream.socket
        self._write_deadline = write_deadline
        self._send_budget = budget
        self._send_lock = trio.Lock()
        self.alive = True
        self.awaits_acknowledgement = False

    @property
    def descriptor(self) -> int:
        """Return the socket's file descriptor."""
        return self._socket.fileno()

    async def receive(self) -> bytes:
        """Return some bytes, or b"" if the client has left.

        A client that has closed only its sending side counts as gone: over TCP it
        cannot be told from one that has left.

        Cancellation:
            No byte is lost.
        """
        try:
            while True:
                # First wait, then read: a client rarely sends before it has read its
                # answer, so a read that is tried first would find nothing.
                await trio.lowlevel.wait_readable(self._socket)
                if (data := self.receive_now()) is not None:
                    return data
        except OSError:
            self.alive = False
            return b""

    def receive_now(self) -> bytes | None:
        """Return some bytes that have arrived, b"" if the client has left.

        None if nothing has arrived: the kernel may report a socket as readable that is
        not.
        """
        try:
            data = os.read(self._socket.fileno(), _READ_BYTES)
        except BlockingIOError:
            return None
        except OSError:
            data = b""
        if not data:
            self.alive = False
        return data

    async def send(self, data: bytes) -> None:
        """Write all of `data`, after what other tasks are writing.

        Not a checkpoint where the kernel takes all of it at once.

        Raises:
            PeerGone: The client left or did not read it before the write deadline, or
                it was cut since too much waits to be read.

        Cancellation:
            Nothing more can be written, unless nothing of `data` had been written.
        """
        # The kernel takes nearly every answer whole: no lock and no deadline is needed.
        sent = self.write_now(data)
        if not self.alive:
            raise PeerGone(_LEFT)
        if sent < len(data):
            await self._send_rest(memoryview(data), sent)

    def write_now(self, data: bytes) -> int:
        """Write what the kernel takes at once of `data`; return how many bytes.

        None, where another task is writing, or the client has left.
        """
        if not self.alive or self._send_lock.locked():
            return 0
        try:
            # trio's sockets have no send() that does not wait.
            return os.write(self._socket.fileno(), data)
        except BlockingIOError:
            return 0
        except OSError:
            self.alive = False
            return 0

    async def wait_acknowledged(self) -> bool:
        """Return whether the client's system has acknowledged all that was written.

        A client that has vanished acknowledges nothing, and one that has closed answers
        with a reset; the kernel takes what is written to either. A client that
        acknowledges nothing more for the time of the write deadline is cut.

        Cancellation:
            Nothing is known.
        """
        pause = _FIRST_PAUSE
        least = math.inf
        self.awaits_acknowledgement = True
        try:
            with trio.move_on_after(self._write_deadline) as scope:
                while unacknowledged := self._count_unacknowledged():
                    if unacknowledged < least:
                        least = unacknowledged
                        scope.deadline = trio.current_time() + self._write_deadline
                    # The kernel has no event for an acknowledgement: look again.
                    await trio.sleep(pause)
                    pause = min(2 * pause, _LAST_PAUSE)
                return self.alive
            self.abort()
            return False
        finally:
            self.awaits_acknowledgement = False

    async def finish(self, linger: float) -> None:
        """Close so that the client still gets what was written last.

        Closing with unread bytes makes the kernel drop the answer that is on its way.
        So first announce the end, then read until the client closes too.

        Args:
            linger: Seconds to wait for that.

        Cancellation:
            The socket is closed.
        """
        try:
            if self.alive:
                self._socket.shutdown(socket.SHUT_WR)
                with trio.move_on_after(linger):
                    while await self.receive():
                        pass
        except OSError:
            pass  # the client has left meanwhile
        finally:
            self._socket.close()

    def stop_receiving(self) -> None:
        """Make `receive` return b"", after what has arrived already.

        Unlike a cancellation this cannot come between the arrival of a request and
        its being read.
        """
        try:
            self._socket.shutdown(socket.SHUT_RD)
        except OSError:
            pass  # the client has left already

    def abort(self) -> None:
        """Close at once and drop what is still to be sent."""
        self.alive = False
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
        except OSError:
            pass  # the socket is closed already
        self._socket.close()

    def _count_unacknowledged(self) -> int:
        """Return how many bytes are on their way; 0 if the client has left.

        Where the system does not report it, the number is 0.
        """
        try:
            queued = fcntl.ioctl(self._socket.fileno(), termios.TIOCOUTQ, bytes(4))
            error = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        except (OSError, ValueError):
            return 0  # the socket is closed; a ValueError is for its descriptor, -1
        if error:
            self.alive = False
            return 0
        (count,) = struct.unpack("i", queued)
        return int(count)

    async def _send_rest(self, data: memoryview, sent: int) -> None:
        """Write what the kernel did not take at once: all behind the first `sent`."""
        try:
            with self._send_budget.wait(len(data)) as write:
                async with self._send_lock:
                    if not self.alive:
                        raise PeerGone(_LEFT)
                    write.deadline = trio.current_time() + self._write_deadline
                    while sent < len(data):
                        sent += await self._socket.send(data[sent:])
                        self._send_budget.progress(write)
        except OSError as error:
            self.alive = False
            raise PeerGone(_LEFT) from error
        except trio.Cancelled:
            # Half of an answer is out: the next one must not follow it.
            self.alive = self.alive and not sent
            raise
        if write.cancelled_caught:
            self.alive = False
            raise PeerGone("the client has not read its answer in time")
