"""A server in a thread of the test process, for code that connects over TCP."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import AbstractAsyncContextManager, contextmanager
from functools import partial

from ..client import Client, open_client
from ..link import Backoff
from ._connections import Claims
from ._in_thread import InThread, open_in_thread
from ._tcp import TcpConnections, open_tcp

_PAUSE = 0.002


class SlockServer:
    """A server on 127.0.0.1, in a thread; made by `open_slock_server`.

    All methods return at once and may be called from any thread: from blocking code,
    from a task of asyncio or trio.

    Attributes:
        url: What clients of it are opened with; also in other processes.
        port: Its TCP port.
    """

    def __init__(self, thread: InThread[TcpConnections]) -> None:
        self._thread = thread
        self._connections = thread.value
        self.port: int = thread.value.port
        self.url: str = f"slock://127.0.0.1:{self.port}"

    def __repr__(self) -> str:
        return f"<SlockServer {self.url}: {self._connections!r}>"

    def open_client(self, *, db: int = 0) -> AbstractAsyncContextManager[Client, bool]:
        """Open a client in a trio program; it is back soon after a cut.

        Args:
            db: The database of the client.
        """
        return open_client(f"{self.url}/{db}", backoff=Backoff(first=0.01, limit=0.1))

    # Time.

    def advance(self, seconds: float) -> None:
        """Let the server's clock go forward, and end what is due by then.

        Leases and waits in seconds end on a full second of the wall clock, so up to one
        second after their time. The clocks of the clients go on as they do.

        Args:
            seconds: By how much.
        """
        self._thread.advance(seconds)

    def stop_clock(self) -> None:
        """Let the server's time stand still, but for `advance`."""
        self._thread.stop_clock()

    # Faults.

    def cut(self) -> None:
        """Break all connections; new ones can be made."""
        self._thread.call(self._connections.cut)

    def down(self) -> None:
        """Break all connections, and refuse new ones until `up`."""
        self._thread.call(self._connections.down)

    def up(self) -> None:
        """Let connections be made again."""
        self._thread.call(self._connections.up)

    def freeze(self) -> None:
        """Let the server neither read nor answer until `thaw`, as if it were stopped.

        New connections are accepted, and hang too. Leases go on to run out.
        """
        self._thread.call(self._connections.freeze)

    def thaw(self) -> None:
        """Let through what was held back, and everything after it."""
        self._thread.call(self._connections.thaw)

    def delay(self, seconds: float) -> None:
        """Let each message to the server take so many of its seconds; 0 ends that."""
        self._thread.call(partial(self._connections.delay, seconds))

    def lose(self, key: str | bytes, *, db: int = 0) -> int:
        """End the leases of a key, so that its holders lose it.

        They are sent what they are sent when a lease has run out: `LockLost` with the
        reason ``"expired"``. Who waits for the key gets it.

        Returns:
            How many held it.
        """
        return self._thread.call(partial(self._connections.lose, key, db=db))

    def heal(self) -> None:
        """End all faults; what is lost stays lost."""
        self.up()
        self.thaw()
        self.delay(0)

    # What is held.

    def claims(self, key: str | bytes, *, db: int = 0) -> Claims:
        """Return how many hold a key, and how many wait for it."""
        return self._thread.call(partial(self._connections.claims, key, db=db))

    def wait_claims(
        self,
        key: str | bytes,
        *,
        holders: int | None = None,
        waiters: int | None = None,
        db: int = 0,
        timeout: float = 5.0,
    ) -> Claims:
        """Block until so many hold a key and wait for it.

        For blocking code. In a task, call it by ``trio.to_thread.run_sync`` or
        ``asyncio.to_thread``, so that the loop goes on.

        Args:
            key: The key.
            holders: How many; None for any number.
            waiters: The same.
            db: The database of the key.
            timeout: Seconds that it may take.

        Raises:
            TimeoutError: It has taken longer; the message has the last numbers.
        """
        wanted = (holders, waiters)
        ends_at = time.monotonic() + timeout
        while True:
            claims = self.claims(key, db=db)
            if all(a is None or a == b for a, b in zip(wanted, claims, strict=True)):
                return claims
            if time.monotonic() > ends_at:
                raise TimeoutError(f"{key!r} has {claims} after {timeout:g} s")
            time.sleep(_PAUSE)


@contextmanager
def open_slock_server() -> Generator[SlockServer]:
    """Serve a new engine on a free port of 127.0.0.1 for the body of a ``with``.

    It runs in a thread of this process, with a clock that the test can advance. Where
    pytest is used, the fixture ``slock_server`` does this.

    Raises:
        OSError: No port can be had.
    """
    with open_in_thread(open_tcp, name="trioslock test server") as thread:
        yield SlockServer(thread)
