"""A socket that a hostile peer cannot hold on to.

Reads say "gone" in one way, writes have a deadline, and a write that did not get out
whole leaves the wire dead: half an answer must not be followed by another one.
"""

from __future__ import annotations

import fcntl
import math
import os
import socket
import struct
import termios

import trio

__all__ = ["PeerGone", "ClientStream"]

_READ_BYTES = 64 * 1024
# Seconds between two looks whether what was written has been acknowledged. Most peers
# have done so at once, or with the next thing that they send.
_FIRST_PAUSE = 0.002
_LAST_PAUSE = 0.1
# With this option close() sends RST at once and keeps nothing in the kernel.
_ABORT = struct.pack("ii", 1, 0)


class PeerGone(OSError):
    """The peer left, or did not take what it was sent in time.

    It is an OSError because ASGI says that ``send`` raises one then.
    """


class ClientStream:
    """One connected socket.

    Attributes:
        alive: False when the peer has left or a write has failed.
        confirming: `taken` finds out whether the peer has left.
    """

    __slots__ = (
        "_socket",
        "_stream",
        "_turn",
        "_write_deadline",
        "alive",
        "confirming",
    )

    def __init__(self, stream: trio.SocketStream, write_deadline: float) -> None:
        self._stream = stream
        self._socket = stream.socket
        self._write_deadline = write_deadline
        self._turn = trio.Lock()
        self.alive = True
        self.confirming = False

    @property
    def descriptor(self) -> int:
        """Return the socket's file descriptor."""
        return self._socket.fileno()

    async def receive(self) -> bytes:
        """Return some bytes, or b"" if the peer has left.

        A peer that has closed only its sending side counts as gone: over TCP it
        cannot be told from one that has left.

        Cancellation:
            No byte is lost.
        """
        try:
            data = await self._read()
        except OSError:
            data = b""
        if not data:
            self.alive = False
        return data

    async def send(self, data: bytes) -> None:
        """Write all of `data`, behind other writers.

        Raises:
            PeerGone: The peer left or did not take it before the write deadline.

        Cancellation:
            The wire is dead unless nothing of `data` had been written.
        """
        if not self._turn.locked():
            data = self._send_now(data)
            if not data:
                return
        try:
            self._turn.acquire_nowait()
        except trio.WouldBlock:
            await self._turn.acquire()
        try:
            if not self.alive:
                raise PeerGone("the peer has left")
            with trio.move_on_after(self._write_deadline) as scope:
                await self._send_all(data)
            if scope.cancelled_caught:
                self.alive = False
                raise PeerGone(f"nothing taken for {self._write_deadline} s")
        finally:
            self._turn.release()

    async def taken(self) -> bool:
        """Return whether the peer's system has acknowledged all that was written.

        A peer that has vanished acknowledges nothing, and one that has closed answers
        with a reset; the kernel has taken what was written to either. A peer that
        acknowledges nothing more for the time of the write deadline is cut.

        Cancellation:
            Nothing is known.
        """
        pause = _FIRST_PAUSE
        least = math.inf
        self.confirming = True
        try:
            with trio.move_on_after(self._write_deadline) as scope:
                while unacknowledged := self._count_unacknowledged():
                    if unacknowledged < least:
                        least = unacknowledged
                        scope.deadline = trio.current_time() + self._write_deadline
                    # The kernel does not tell when that changes.
                    await trio.sleep(pause)
                    pause = min(2 * pause, _LAST_PAUSE)
                return self.alive
            self.abort()
            return False
        finally:
            self.confirming = False

    async def finish(self, linger: float) -> None:
        """Close so that the peer still sees what was written last.

        Closing with unread bytes makes the kernel throw away the answer on its way,
        so first say that nothing more comes, then read until the peer closes too.

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
            pass  # it has gone meanwhile
        finally:
            self._socket.close()

    def stop_receiving(self) -> None:
        """Make `receive` say that the peer has left, once it has returned all there is.

        Unlike a cancellation this cannot come between the arrival of a request and
        its being read.
        """
        try:
            self._socket.shutdown(socket.SHUT_RD)
        except OSError:
            pass  # it has gone by itself

    def abort(self) -> None:
        """Close at once and drop what is still to be sent."""
        self.alive = False
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
        except OSError:
            pass  # it has gone by itself
        self._socket.close()

    def _count_unacknowledged(self) -> int:
        """Return how many bytes are on their way; 0 if the peer has left.

        Where the system does not tell, it looks as if none were.
        """
        try:
            queued = fcntl.ioctl(self._socket.fileno(), termios.TIOCOUTQ, bytes(4))
            error = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        except OSError:
            return 0
        if error:
            self.alive = False
            return 0
        (count,) = struct.unpack("i", queued)
        return int(count)

    def _send_now(self, data: bytes) -> bytes:
        """Write what the kernel takes at once, and return the rest.

        That is all of nearly every answer, and saves a deadline that is not needed.
        """
        if not self.alive:
            raise PeerGone("the peer has left")
        try:
            # trio's sockets have no send() that does not wait.
            return data[os.write(self._socket.fileno(), data) :]
        except BlockingIOError:
            return data
        except OSError as error:
            self.alive = False
            raise PeerGone("the peer has left") from error

    async def _read(self) -> bytes:
        # First wait, then read: a client sends nothing before it has read its answer,
        # so a read that is tried first would nearly always be in vain.
        while True:
            await trio.lowlevel.wait_readable(self._socket)
            try:
                return os.read(self._socket.fileno(), _READ_BYTES)
            except BlockingIOError:
                pass  # somebody else's wake-up

    async def _send_all(self, data: bytes) -> None:
        sent = 0
        try:
            while sent < len(data):
                sent += await self._socket.send(data[sent:] if sent else data)
        except OSError as error:
            self.alive = False
            raise PeerGone("the peer has left") from error
        except trio.Cancelled:
            self.alive = self.alive and not sent
            raise
