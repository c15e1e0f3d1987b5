"""One connection to one Redis, and what is known of that Redis.

The connection is opened when the first command needs it, and checked then and once a
second: is this server the one to write to, which history of writes does it have, does
it take a write? Later checks travel in front of a pipeline and cost no round trip.

A connection is given up when it breaks, when nothing comes within the limit, and when
the server answers that it is not the one to ask (see `_refusals`). The next one goes
wherever the name, or the Sentinels, point to by then. Between two attempts there is a
pause, which grows until one succeeds. Commands that come meanwhile wait for the next
attempt, so a server that is back serves the first command that comes after it.

One thread calls all of this.
"""

# Redis-py is typed in part only:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any, Protocol, TypeAlias

import redis

from ._history import HISTORY, HISTORY_MAY_LACK, LastWrite, SinceLastWrite
from ._refusals import AWAY, REFUSALS, Refusal, code_of, refusal_of
from ._state import BackendState, BackendStatus

__all__ = ["Command", "Locator", "Node", "NotPrimary"]

Command: TypeAlias = tuple[str | bytes, ...]

_log = logging.getLogger("triopoll.store")

# Seconds between two checks of a connection that is in use; of one to a server that
# does not take writes.
_CHECK_PERIOD = 1.0
_FAULT_PERIOD = 0.25
# Seconds from one attempt to connect to the next: half of the first, and at most.
_FIRST_PAUSE = 0.025
_LONGEST_PAUSE = 1.0
# In a cluster the pause is so many times what a failed attempt took.
_REST = 4.0
_NO_HISTORY = b"0" * 40
_REDIRECTIONS = tuple(REFUSALS[code] for code in ("MOVED", "ASK", "TRYAGAIN"))


class NotPrimary(redis.ConnectionError):
    """The server that was found is a replica: what it says may be outdated."""

    def __init__(self) -> None:
        super().__init__("it is a replica")
        self.status_code = "READONLY"


class NotTried(redis.ConnectionError):
    """It is not time to connect to this server again."""


class Locator(Protocol):
    """Knows where the Redis is that is to be used.

    Attributes:
        where: What is asked, for messages.
    """

    where: str

    def connection(self) -> Any:
        """Return a connection of redis-py to it, not opened yet.

        Raises:
            redis.RedisError: It is not known where it is.
        """
        ...

    def has_moved(self, connection: Any) -> bool:
        """Return whether another server is to be used than that of this connection."""
        ...


@dataclass(frozen=True, slots=True)
class _Facts:
    """What a check has found.

    Attributes:
        is_replica: The server follows another one.
        history: Names the history of writes that the server has, which is another one
            after each start and each promotion; "" if it does not say.
        may_lack: That history may lack writes which were answered before it began: it
            began with the data of a replica, or with what had been saved last.
        refusal: Why it did not take a write.
    """

    is_replica: bool = False
    history: str = ""
    may_lack: bool = False
    refusal: Exception | None = None


class Node:
    """One Redis, over one connection at a time."""

    def __init__(
        self,
        locator: Locator,
        state: BackendState,
        probe: str,
        closing: threading.Event,
        *,
        is_in_cluster: bool = False,
    ) -> None:
        """Connect to nothing yet.

        Args:
            locator: Knows where the server is.
            state: Where it is noted whether the server serves.
            probe: A key below our prefix, which never exists.
            closing: Set once no attempt to connect is to be waited for any more.
            is_in_cluster: Other servers are asked in the meantime: commands fail at
                once if it is not time to connect again, and a server that makes
                attempts last long is left alone for longer.
        """
        self._is_in_cluster = is_in_cluster
        self._locator = locator
        self._state = state
        self._check: tuple[Command, ...] = (
            ("HELLO",),
            ("INFO", "replication"),
            ("INFO", "persistence"),
            # Passes all that may refuse a write, and changes nothing.
            ("SET", probe, "", "XX"),
        )
        self._closing = closing
        self._connection: Any = None
        self._facts = _Facts()
        self._checked_at = 0.0
        self._pause = _FIRST_PAUSE
        self._next_attempt = 0.0
        # The server answers, but may be the wrong one.
        self._is_suspect = False
        # Of the pipeline under way.
        self._commands: Sequence[Command] = ()
        # By the place of a command: the write that it is, and to which history.
        self._writes: dict[int, tuple[LastWrite, str]] = {}
        self._is_checking = False
        self._failure: Exception | None = None
        self.was_sent = False

    def __repr__(self) -> str:
        return f"<Node: {self.address}, {self._state!r}>"

    @property
    def address(self) -> str:
        """Return the host and the port in use, or what is asked for them."""
        if self._connection is None:
            return self._locator.where
        return address_of(self._connection)

    @property
    def host(self) -> str:
        """Return the host in use; "" for a socket file, or before the first attempt."""
        return str(getattr(self._connection, "host", ""))

    def status(self) -> BackendStatus:
        """Return what is known of the server, for operators; from any thread."""
        return self._state.status()

    # --- a pipeline ---------------------------------------------------------------

    def execute(self, commands: Sequence[Command]) -> list[Any]:
        """Return a reply or an exception for each command, and raise nothing."""
        self.send(commands)
        return self.receive()

    def send(self, commands: Sequence[Command]) -> None:
        """Send commands; `receive` says what came of them, also if this has failed.

        Afterwards `was_sent` says whether any of them may have reached the server.
        """
        self._commands, self._writes, self._failure = commands, {}, None
        self._is_checking = self.was_sent = False
        try:
            self._prepare()
            self._is_checking = self._is_check_due()
            check = self._check if self._is_checking else ()
            self.was_sent = True
            self._write([*check, *map(self._filled_in, count(), commands)])
        except Exception as error:  # noqa: BLE001  # each caller gets it as its own
            self._failure = error

    def receive(self) -> list[Any]:
        """Return a reply or an exception for each command of the last `send`."""
        replies: list[Any] = []
        try:
            if self._failure is not None:
                raise self._failure
            if self._is_checking:
                self._learn([self._read() for _ in self._check])
            while len(replies) < len(self._commands):
                replies.append(self._read())
        except Exception as error:  # noqa: BLE001  # each caller gets it as its own
            self._give_up(error)
            replies += [error] * (len(self._commands) - len(replies))
        for reply in replies:
            if isinstance(reply, redis.ResponseError):
                self._heed(reply)
        for place, (write, history) in self._writes.items():
            if not isinstance(replies[place], Exception):
                write.note(history)
        return replies

    def disconnect(self) -> None:
        """Close the connection; the next command opens one, wherever that leads."""
        if self._connection is not None:
            self._connection.disconnect()
            self._connection = None
        self._is_suspect = False

    # --- connecting ---------------------------------------------------------------

    def _prepare(self) -> None:
        """Have a connection that may be used, a fresh one if need be.

        Raises:
            redis.RedisError: There is none; nothing was sent.
        """
        if self._connection is not None and self._is_outdated():
            self.disconnect()
        if self._connection is None:
            self._connect()

    def _is_outdated(self) -> bool:
        """Return whether to connect anew though the connection has not failed."""
        if not _is_quiet(self._connection):
            return True
        if self._is_suspect and time.monotonic() >= self._next_attempt:
            return True
        return self._is_check_due() and self._locator.has_moved(self._connection)

    def _connect(self) -> None:
        self._wait_for_attempt()
        began = time.monotonic()
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)
        self._next_attempt = began + self._pause
        try:
            self._connection = self._locator.connection()
            self._connection.connect()
            # Nothing is asked of a server before it is known to be the right one.
            self._write(self._check)
            self._learn([self._read() for _ in self._check])
        except (redis.RedisError, OSError):
            if self._is_in_cluster:
                now = time.monotonic()
                self._next_attempt = now + max(self._pause, _REST * (now - began))
            raise

    def _wait_for_attempt(self) -> None:
        pause = max(0.0, self._next_attempt - time.monotonic())
        if pause and self._is_in_cluster:
            raise NotTried(self._state.reason or "it was lost a moment ago")
        if pause and self._closing.wait(pause):
            raise redis.ConnectionError("the store is being closed")

    def _give_up(self, error: Exception) -> None:
        """Close the connection after an error that is not the reply to one command."""
        if not (self._closing.is_set() or isinstance(error, NotTried)):
            self._note(error, refusal_of(error) or AWAY)
        self.disconnect()

    # --- sending and receiving ----------------------------------------------------

    def _filled_in(self, place: int, command: Command) -> Command:
        if HISTORY not in command:
            return command
        history = self._facts.history
        lacks = "1" if self._facts.may_lack else "0"
        known: dict[str | bytes, str] = {HISTORY: history, HISTORY_MAY_LACK: lacks}
        parts: list[str | bytes] = []
        for part in command:
            if isinstance(part, SinceLastWrite):
                if part.is_write:
                    self._writes[place] = part.last, history
                part = part.last.since(history)
            parts.append(known.get(part, part))
        return tuple(parts)

    def _write(self, commands: Sequence[Command]) -> None:
        packed = self._connection.pack_commands(commands)
        self._connection.send_packed_command(packed, check_health=False)

    def _read(self) -> Any:
        try:
            return self._connection.read_response()
        except redis.ResponseError as error:
            # Redis repeats the arguments of a command that it does not know: messages,
            # which must not get into a log.
            error.args = (str(error).partition(", with args")[0],)
            return error

    # --- what is known of the server ----------------------------------------------

    def _is_check_due(self) -> bool:
        period = _CHECK_PERIOD if not self._state.fault else _FAULT_PERIOD
        return time.monotonic() >= self._checked_at + period

    def _learn(self, replies: Sequence[Any]) -> None:
        """Note what a check has found.

        Raises:
            NotPrimary: The server is a replica.
        """
        self._checked_at = time.monotonic()
        facts = _facts_from(replies)
        if facts.history == self._facts.history and self._facts.may_lack:
            # An append-only file that is begun later has no more than the history has.
            facts = replace(facts, may_lack=True)
        self._facts = facts
        if self._facts.is_replica:
            raise NotPrimary
        refused = self._facts.refusal
        refusal = None if refused is None else refusal_of(refused)
        # That a slot moves is the business of the commands for its keys.
        is_moving = self._is_in_cluster and refusal in _REDIRECTIONS
        if refused is not None and refusal is not None and not is_moving:
            self._is_suspect = refusal.reconnects
            self._note(refused, refusal)
            return
        self._is_suspect = False
        self._pause, self._next_attempt = _FIRST_PAUSE, 0.0
        self._state.serves(self.address, self._facts.history)

    def _heed(self, reply: redis.ResponseError) -> None:
        """Note what the reply to one command says of the server."""
        refusal = REFUSALS.get(code_of(reply))
        if refusal is not None and refusal.of_server and self._connection is not None:
            self._is_suspect = self._is_suspect or refusal.reconnects
            self._note(reply, refusal)

    def _note(self, error: Exception, refusal: Refusal) -> None:
        code, text = code_of(error), str(error) or type(error).__name__
        reason = text if not code or text.startswith(code) else f"{code} {text}"
        self._state.fails(self.address, refusal.meaning, reason, refusal.healed)


def address_of(connection: Any) -> str:
    """Return host and port of a connection, or the path of its socket file."""
    path = getattr(connection, "path", None)
    if path:
        return str(path)
    host = str(connection.host)
    return f"[{host}]:{connection.port}" if ":" in host else f"{host}:{connection.port}"


def _is_quiet(connection: Any) -> bool:
    """Return whether the server has neither closed the connection nor said anything."""
    try:
        return not connection.can_read(timeout=0)
    except (redis.RedisError, OSError):
        return False


def _facts_from(replies: Sequence[Any]) -> _Facts:
    hello, replication, persistence, probe = replies
    info = _fields(replication) | _fields(persistence)
    role = _role(hello) or info.get(b"role", b"")
    continued = info.get(b"master_replid2", _NO_HISTORY) != _NO_HISTORY
    return _Facts(
        is_replica=role in (b"slave", b"replica"),
        history=info.get(b"master_replid", b"").decode("ascii", "replace"),
        may_lack=continued or info.get(b"aof_enabled") != b"1",
        refusal=probe if isinstance(probe, Exception) else None,
    )


def _role(hello: Any) -> bytes:
    """Return the role in the answer to HELLO, which no access list can forbid."""
    if not isinstance(hello, list) or b"role" not in hello:
        return b""
    role = hello[hello.index(b"role") + 1]
    return role if isinstance(role, bytes) else b""


def _fields(info: Any) -> dict[bytes, bytes]:
    """Return the fields of an answer to INFO; none if it was refused."""
    if not isinstance(info, bytes):
        return {}
    pairs = (line.partition(b":") for line in info.splitlines())
    return {name: value for name, colon, value in pairs if colon}
