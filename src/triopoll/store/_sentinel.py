"""Which server is the primary, as Redis Sentinels report it.

They are asked one after the other before each connection, and every second while one is
in use: a primary that was replaced while it lives takes writes for some more seconds,
and loses them. (Source: Redis's Sentinel client guidelines, "Guidelines for Redis
clients with support for Redis Sentinel"; the role of the server that is found is then
checked by `Node`.)
"""

from __future__ import annotations

import time
from typing import Any

import redis

from ._url import RedisAddress

__all__ = ["SentinelLocator", "ask_sentinel"]

# Seconds for which Sentinels that did not answer are not asked about a connection that
# works.
_REST = 5.0


class SentinelLocator:
    """Asks the Sentinels of an address; see `Locator`."""

    def __init__(self, address: RedisAddress) -> None:
        """Ask nothing yet."""
        hosts = ",".join(f"{host}:{port}" for host, port in address.hosts)
        self.where = f"{hosts}/{address.name}"
        self._address = address
        # The one that answered last comes first.
        self._sentinels = [address.sentinel(*host) for host in address.hosts]
        self._rests_until = 0.0

    def connection(self) -> Any:
        """Return a connection to the primary, not opened yet; see `Locator`."""
        return self._address.connection(*self._primary())

    def has_moved(self, connection: Any) -> bool:
        """Return whether the Sentinels name another primary; see `Locator`."""
        if time.monotonic() < self._rests_until:
            return False
        try:
            return self._primary() != (connection.host, connection.port)
        except redis.RedisError:
            # A working connection is not given up since no Sentinel can be asked.
            self._rests_until = time.monotonic() + _REST
            return False

    def _primary(self) -> tuple[str, int]:
        errors: list[str] = []
        for sentinel in list(self._sentinels):
            try:
                found = ask_sentinel(sentinel, self._address.name)
            except (redis.RedisError, OSError) as error:
                sentinel.disconnect()
                errors.append(str(error) or type(error).__name__)
                continue
            if found is not None:
                self._sentinels.remove(sentinel)
                self._sentinels.insert(0, sentinel)
                return found
            errors.append(f"{sentinel.host}:{sentinel.port} does not know it")
        raise redis.ConnectionError(
            f"no Sentinel names the primary {self._address.name!r}: {'; '.join(errors)}"
        )


def ask_sentinel(sentinel: Any, name: str) -> tuple[str, int] | None:
    """Ask a Sentinel where the primary is; None if it does not know one by this name.

    Args:
        sentinel: A connection to it, which is opened if need be.
        name: What the Sentinels call the primary.

    Raises:
        redis.RedisError: It does not answer, or refuses.
        OSError: The same.
    """
    sentinel.connect()
    sentinel.send_command(
        "SENTINEL", "GET-MASTER-ADDR-BY-NAME", name, check_health=False
    )
    reply = sentinel.read_response()
    return None if reply is None else (reply[0].decode(), int(reply[1]))
