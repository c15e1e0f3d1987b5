"""The connections to one server, and the faults that a test can give all of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import trio

from ..protocol import to_key
from ..server import Server
from ._faults import FaultyStream


class Claims(NamedTuple):
    """How many hold a key, and how many wait for it.

    Attributes:
        holders: Holders; more than one of a semaphore or of readers.
        waiters: Waiters.
    """

    holders: int
    waiters: int


class Connections:
    """The connections to one server; all methods are of the server's trio run.

    Attributes:
        server: The server; its ``host_engine.engine`` shows what is held.
        streams: One end of each connection, oldest first.
    """

    def __init__(self, server: Server) -> None:
        self.server = server
        self.streams: list[FaultyStream] = []
        self._is_down = False
        self._is_frozen = False
        self._delay = 0.0
        self._sends = self._receives = math.inf

    def __repr__(self) -> str:
        state = "down" if self._is_down else "frozen" if self._is_frozen else "up"
        count = len(self.streams)
        return f"<{type(self).__name__}: {state}, {count} connections so far>"

    def cut_next(self, *, sends: float = math.inf, receives: float = math.inf) -> None:
        """Cut the next connection after that many messages; see `FaultyStream`.

        The first message of the client, and that of the server, are the handshake.
        """
        self._sends, self._receives = sends, receives

    def cut(self) -> None:
        """Break all connections; new ones can be made."""
        for stream in self.streams:
            stream.cut()

    def down(self) -> None:
        """Break all connections, and refuse new ones until `up`."""
        self._is_down = True
        self.cut()

    def up(self) -> None:
        """Let connections be made again."""
        self._is_down = False

    def freeze(self) -> None:
        """Let the server neither read nor answer until `thaw`, as if it were stopped.

        New connections are accepted, and hang too. Leases go on to run out.
        """
        self._is_frozen = True
        for stream in self.streams:
            stream.hang()

    def thaw(self) -> None:
        """Let through what was held back, and everything after it."""
        self._is_frozen = False
        for stream in self.streams:
            stream.thaw()

    def delay(self, seconds: float) -> None:
        """Let each message take so many seconds longer; 0 ends that."""
        self._delay = seconds
        for stream in self.streams:
            stream.delay(seconds)

    def lose(self, key: str | bytes, *, db: int = 0) -> int:
        """End the leases of a key, so that its holders lose it.

        They are sent what they are sent when a lease has run out: `LockLost` with the
        reason ``"expired"``. Who waits for the key gets it.

        Returns:
            How many held it.
        """
        name = to_key(key)
        lost = self.claims(name, db=db).holders
        self.server.host_engine.end_leases(db, name)
        return lost

    def claims(self, key: str | bytes, *, db: int = 0) -> Claims:
        """Return how many hold a key, and how many wait for it."""
        view = self.server.host_engine.engine.inspect(db, to_key(key))
        if view is None:
            return Claims(0, 0)
        return Claims(len(view.holders), len(view.waiters))

    def _add(self, stream: trio.abc.Stream, cut: Callable[[], None]) -> FaultyStream:
        """Return a new connection's stream with the faults of now."""
        faulty = FaultyStream(stream, cut, sends=self._sends, receives=self._receives)
        self._sends = self._receives = math.inf
        faulty.delay(self._delay)
        if self._is_frozen:
            faulty.hang()
        self.streams.append(faulty)
        return faulty
