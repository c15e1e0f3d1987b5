"""A server for programs that are no trio programs, and a look at what it holds."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from trioslock import sync
from trioslock.testing import SlockServer, open_slock_server

PATIENCE = 10.0


class Outside:
    """A server whose claims are counted past the client that is tested."""

    def __init__(
        self, url: str, observer: sync.Client, server: SlockServer | None
    ) -> None:
        self.url = url
        self.server = server
        self._observer = observer
        self._pool = ThreadPoolExecutor(1)
        self._waiting_before = observer.state().waiting if server is None else 0

    def key(self, name: str = "key") -> str:
        """A key that no other test uses."""
        return f"{name}-{secrets.token_hex(4)}"

    def claims(self, key: str) -> tuple[int, int]:
        """How many hold a key and how many wait for it."""
        if self.server is not None:
            holders, waiters = self.server.claims(key)
            return holders, waiters
        # In a thread: blocking calls are refused where an event loop runs.
        return self._pool.submit(self._claims, key).result()

    def _claims(self, key: str) -> tuple[int, int]:
        # Waiters of a free key are in no list, but they are counted.
        waiting = self._observer.state().waiting - self._waiting_before
        return len(self._observer.holders(key)), waiting

    def until(self, key: str, holders: int, waiters: int) -> None:
        """Block until so many hold a key and wait for it."""
        ends_at = time.monotonic() + PATIENCE
        while (claims := self.claims(key)) != (holders, waiters):
            assert time.monotonic() < ends_at, claims
            time.sleep(0.002)

    def lose(self, key: str) -> None:
        """End the grants of a key without their holders."""
        if self.server is not None:
            self.server.lose(key)
        else:
            self._pool.submit(self._observer.lock(key).release_head).result()


@contextmanager
def open_outside(address: tuple[str, int] | None) -> Iterator[Outside]:
    if address is None:
        with open_slock_server() as server, sync.open_client(server.url) as observer:
            yield Outside(server.url, observer, server)
        return
    host, port = address
    url = f"slock://{host}:{port}/{100 + secrets.randbelow(150)}"
    with sync.open_client(url) as observer:
        yield Outside(url, observer, None)
