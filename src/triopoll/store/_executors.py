"""How a pipeline reaches Redis: the only place that talks to redis-py.

An executor is a function that blocks: commands in, a reply or an exception for each.
It is called by one thread only, and never sends a command twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

__all__ = ["Command", "Executor", "executor_for"]

Command: TypeAlias = tuple[str | bytes, ...]


class Executor(Protocol):
    """Send commands, return what came of each."""

    def execute(self, commands: Sequence[Command]) -> Sequence[Any]:
        """Return a reply or an exception for each command, and raise nothing."""
        ...

    def close(self) -> None:
        """Close the connections; nothing is executed afterwards."""
        ...


def executor_for(url: str, limit: float) -> Executor:
    """Prepare for the server that a URL names, without connecting.

    Args:
        url: As ``redis.Redis.from_url`` reads it.
        limit: Seconds that Redis may take to accept a connection or to answer.

    Raises:
        ValueError: If the URL cannot be used; the message does not repeat it.
    """
    # redis-py's keyword arguments have no types.
    client: redis.Redis = redis.Redis.from_url(  # pyright: ignore[reportUnknownMemberType]
        url,
        socket_connect_timeout=limit,
        socket_timeout=limit,
        # A command that may have been executed must not be sent again.
        retry=Retry(NoBackoff(), 0),
    )
    if client.connection_pool.connection_kwargs.get("decode_responses"):
        raise ValueError("decode_responses cannot be used: messages are bytes")
    return _OneConnection(client)


class _OneConnection:
    """One connection of a client, for good.

    The client's own `execute_command` and pipelines take the connection from the
    pool and put it back each time, which doubles the cost of a single command, and
    they lose the replies that came before a connection broke.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._pool: Any = client.connection_pool
        self._connection: Any = None

    def execute(self, commands: Sequence[Command]) -> Sequence[Any]:
        replies: list[Any] = []
        try:
            connection = self._ready_connection()
            connection.send_packed_command(
                connection.pack_commands(commands), check_health=False
            )
            while len(replies) < len(commands):
                replies.append(_read(connection))
        except Exception as error:  # noqa: BLE001  # each caller gets it as its own
            self._disconnect()
            replies += [error] * (len(commands) - len(replies))
        return replies

    def close(self) -> None:
        self._disconnect()
        self._client.close()

    def _ready_connection(self) -> Any:
        """Return the connection, fresh if the server has closed it meanwhile."""
        if self._connection is None:
            self._connection = self._pool.get_connection()
        elif not _is_quiet(self._connection):
            self._connection.disconnect()
        return self._connection

    def _disconnect(self) -> None:
        # The next command connects again: to another host, if the name has moved.
        if self._connection is not None:
            self._connection.disconnect()


def _is_quiet(connection: Any) -> bool:
    try:
        return not connection.can_read(timeout=0)
    except (redis.RedisError, OSError):
        return False


def _read(connection: Any) -> Any:
    try:
        return connection.read_response()
    except redis.ResponseError as error:
        # Redis repeats the arguments of a command that it does not know: messages,
        # which must not get into a log.
        error.args = (str(error).partition(", with args")[0],)
        return error
