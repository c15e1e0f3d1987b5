"""The commands of the text dialect: words to a reply or a command for the engine.

`COMMANDS` is the table. Each function gets the connection's `RespCommands` and the
words, and returns one of three: the bytes of the reply; `EngineCommand`, whose result
makes the reply; `CloseAfter`, a reply after which the connection is closed.

Source: snower/slock 2.1.12, ``server/protocol.go`` (``TextServerProtocol``),
``server/admin.go``. Differences: lists of more than `MAX_LISTED` keys are an error,
patterns are globs as in Redis (the real server makes an unanchored regular expression
of them), and ``SCAN`` comes to an end.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple, TypeVar

from .._errors import RemoteProtocolError
from ..engine import NEVER_LOGGED, Counters, KeyView
from ..host import HostPeer
from ..protocol import (
    MAX_DATABASE,
    CommandType,
    Data,
    LockCommand,
    LockResult,
    PropertyCode,
    ResultCode,
    resp,
    to_key,
)
from ..protocol.resp import CommandError
from ._context import ServerContext

MAX_LISTED = 100_000
"""Most keys that one KEYS, SHOW or LIST_LOCK returns."""

MAX_PATTERN = 1024
"""Longest pattern of KEYS and SCAN, in bytes."""

DEFAULT_SCAN = 1000
"""Keys that a SCAN without COUNT returns."""

VERSION = "2.1.12"
"""Version of slock whose behaviour this is; INFO names it."""

_UNLOCK = int(CommandType.UNLOCK)
_WILL_TYPES = frozenset({int(CommandType.WILL_LOCK), int(CommandType.WILL_UNLOCK)})
_UNKNOWN_DB = "ERR Uknown DB Error"  # wire spelling
_SUCCED = int(ResultCode.SUCCED)


class EngineCommand(NamedTuple):
    """A command for the engine, and how its reply is made.

    With ``respond`` the reply is made from the result. Without it ``reply`` is sent at
    once, and the result is dropped.
    """

    command: LockCommand
    respond: Callable[[LockResult], bytes] | None
    reply: bytes = b""


class CloseAfter(NamedTuple):
    """A reply after which the connection is closed."""

    reply: bytes


Answer = bytes | EngineCommand | CloseAfter
_Item = TypeVar("_Item")


class RespCommands:
    """Answer the requests of one text connection.

    Args:
        context: The server.
        new_id: Makes ids for commands that bring none.
    """

    __slots__ = ("context", "peer", "state")

    def __init__(self, context: ServerContext, new_id: Callable[[], bytes]) -> None:
        self.peer: HostPeer
        self.state = resp.RespState(new_id)
        self.context = context

    def run(self, words: list[bytes]) -> Answer:
        """Answer one request; a wrong one with an error."""
        command = COMMANDS.get(words[0].upper())
        if command is None:
            return resp.error("ERR Unknown Command")
        try:
            return command(self, words)
        except CommandError as error:
            return resp.error(str(error))

    def answer_lock(self, result: LockResult) -> bytes:
        """Return the reply to a LOCK; the lock id of a grant is remembered."""
        if result.result == _SUCCED:
            self.state.lock_id = result.lock_id
        return resp.lock_reply(result)

    def answer_unlock(self, result: LockResult) -> bytes:
        """Return the reply to an UNLOCK; a success forgets the lock id."""
        if result.result == _SUCCED:
            self.state.lock_id = resp.NO_ID
        return resp.lock_reply(result)

    @property
    def wall(self) -> float:
        """The wall clock as the engine sees it, in seconds."""
        return self.peer.now() + self.peer.engine.wall_offset


def _require(words: list[bytes], least: int, message: str) -> None:
    if len(words) < least:
        raise CommandError(message)


def _check_database(db: int) -> None:
    if db > MAX_DATABASE:
        raise CommandError(_UNKNOWN_DB)


# The connection.


def _ping(session: RespCommands, words: list[bytes]) -> Answer:
    return resp.PONG if len(words) == 1 else _echo(session, words)


def _echo(session: RespCommands, words: list[bytes]) -> Answer:
    if len(words) != 2:
        return resp.error("ERR Command Arguments Error")
    return resp.bulk(words[1])


def _select(session: RespCommands, words: list[bytes]) -> Answer:
    _require(words, 2, "ERR Command Parse Len Error")
    session.state.db = (
        resp.read_integer(words[1], "ERR Command Parse DB_ID Error") & 0xFF
    )
    return resp.OK


def _timeout(session: RespCommands, words: list[bytes]) -> Answer:
    _require(words, 3, "ERR Command Parse Len Error")
    if words[1].upper() != b"SET":
        return resp.integer(session.state.wait)
    error = "ERR Command Parse Timeout Value Error"
    session.state.wait = resp.read_integer(words[2], error) & 0xFFFF
    return resp.OK


def _quit(session: RespCommands, words: list[bytes]) -> Answer:
    return CloseAfter(resp.OK)


# Locks and values.


def _lock(session: RespCommands, words: list[bytes]) -> Answer:
    return _run_lock(session, words, session.answer_lock)


def _unlock(session: RespCommands, words: list[bytes]) -> Answer:
    return _run_lock(session, words, session.answer_unlock)


def _push(session: RespCommands, words: list[bytes]) -> Answer:
    """Run a LOCK without waiting for its result, which is dropped.

    The real server sends it in place of the reply to a later command.
    """
    return _run_lock(session, words, None)


def _run_lock(
    session: RespCommands, words: list[bytes], respond: resp.Responder | None
) -> Answer:
    command = resp.read_lock(words, session.state)
    _check_database(command.db)
    if respond is None or command.type in _WILL_TYPES:
        return EngineCommand(command, None, resp.OK)
    if command.type == _UNLOCK and not session.peer.engine.database_exists(command.db):
        raise CommandError(_UNKNOWN_DB)
    return EngineCommand(command, respond)


def _write_value(session: RespCommands, words: list[bytes]) -> Answer:
    writer = resp.WRITERS[words[0].upper()]
    command, respond = writer(words, session.state, session.wall)
    _check_database(command.db)
    return EngineCommand(command, respond)


def _read_value(session: RespCommands, words: list[bytes]) -> Answer:
    view = _view(session, words)
    data = view.data if view is not None and view.levels else None
    return resp.READERS[words[0].upper()](data)


def _time_to_live(session: RespCommands, words: list[bytes]) -> Answer:
    view = _view(session, words)
    if view is None or not view.holders:
        return resp.integer(-2)
    end = view.holders[0].expires_at
    if end is None:
        return resp.integer(-1)
    if words[0].upper() == b"PTTL":
        return resp.integer(end * 1000 - int(session.wall * 1000))
    return resp.integer(end - int(session.wall))


def _view(session: RespCommands, words: list[bytes]) -> KeyView | None:
    _require(words, 2, resp.ARGS_COUNT_ERROR)
    engine, db = session.peer.engine, session.state.db
    _check_database(db)
    # A database exists from its first read on, as on the real server.
    engine.open_database(db)
    return engine.peek(db, to_key(words[1]))


# Lists.


def _keys(session: RespCommands, words: list[bytes]) -> Answer:
    pattern = words[1] if len(words) > 1 else b"*"
    return resp.listing(_limited(_names(session, pattern)))


def _scan(session: RespCommands, words: list[bytes]) -> Answer:
    cursor = words[1] if len(words) > 1 else b"0"
    start = max(0, resp.read_integer(cursor, "ERR Command Parse Cursor Error"))
    pattern, count = b"*", DEFAULT_SCAN
    pending = iter(words[2:])
    for option in pending:
        value = next(pending, None)
        if value is None:
            raise CommandError(resp.ARGS_COUNT_ERROR)
        if option.upper() == b"MATCH":
            pattern = value
        elif option.upper() == b"COUNT":
            count = resp.read_integer(value, "ERR Command Parse COUNT Error")
    count = min(max(count, 1), MAX_LISTED)
    found: list[bytes] = []
    following = 0
    for index, name in enumerate(_names(session, pattern)):
        if index == start + count:
            following = index
            break
        if index >= start:
            found.append(name)
    return b"*2\r\n" + resp.bulk_number(following) + resp.array(found)


def _names(session: RespCommands, pattern: bytes) -> Iterator[bytes]:
    """Return the names of held keys whose data carries one."""
    if len(pattern) > MAX_PATTERN:
        raise CommandError("ERR Command Parse Pattern Error")
    match = re.compile(fnmatch.translate(pattern.decode("latin-1"))).match
    for view in session.peer.engine.held_keys(session.state.db):
        name = _name(view.data)
        if name is not None and match(name.decode("latin-1")):
            yield name


def _name(frame: bytes | None) -> bytes | None:
    if frame is None:
        return None
    try:
        properties = Data.decode(frame).properties
    except RemoteProtocolError:
        return None
    return next((name for code, name in properties if code == PropertyCode.KEY), None)


def _limited(items: Iterable[_Item]) -> list[_Item]:
    found: list[_Item] = []
    for item in items:
        if len(found) == MAX_LISTED:
            raise CommandError("ERR Too Many Keys")
        found.append(item)
    return found


def _show(session: RespCommands, words: list[bytes]) -> Answer:
    engine, db = session.peer.engine, session.state.db
    if not engine.database_exists(db):
        return resp.error("ERR DB Empty")
    if len(words) == 1 or words[1:] == [b"*"]:
        views = _limited(engine.held_keys(db))
        return resp.listing(
            word
            for view in views
            for word in (view.key.hex().encode(), b"%d" % view.levels)
        )
    view = engine.inspect(db, to_key(words[1]))
    waiting = len(words) == 3 and words[2].upper() == b"WAIT"
    if view is None or not (view.levels or waiting):
        return resp.error("ERR Unknown Lock Manager Error")
    return resp.listing(_claim_words(view, waiting=waiting))


def _claim_words(view: KeyView, *, waiting: bool) -> Iterator[bytes]:
    for claim in view.waiters if waiting else view.holders:
        yield claim.lock_id.hex().encode()
        end = 0x7FFF_FFFF_FFFF_FFFF if claim.expires_at is None else claim.expires_at
        # The last two: the time until it is logged, and state bits. Bit 0 means
        # "timed out", which the real server sets on every holder.
        state = 0 if waiting else 1
        for number in (
            claim.start,
            claim.timeout_at,
            0 if waiting else end,
            claim.levels,
            NEVER_LOGGED,
            state,
        ):
            yield b"%d" % number
        if view.data is not None:
            yield view.data


# The server.


def _info(session: RespCommands, words: list[bytes]) -> Answer:
    wanted = words[1].lower().decode("latin-1") if len(words) > 1 else None
    sections = {**session.context.info(), "Keyspace": _keyspace(session)}
    lines: list[str] = []
    for title, entries in sections.items():
        if wanted in {None, title.lower()}:
            lines.append(f"# {title}")
            lines += [f"{name}:{value}" for name, value in entries.items()]
            lines.append("")
    return resp.bulk("\r\n".join(lines).encode())


def _keyspace(session: RespCommands) -> dict[str, str]:
    engine = session.peer.engine
    return {
        f"db{db}": _counter_line(engine.counters(db))
        for db in range(MAX_DATABASE + 1)
        if engine.database_exists(db)
    }


def _counter_line(counters: Counters) -> str:
    known = counters._asdict()
    # Wire spelling.
    known["timeouted_count"] = known.pop("timed_out_count")
    names = (
        "lock_count",
        "unlock_count",
        "locked_count",
        "wait_count",
        "timeouted_count",
        "expired_count",
        "unlock_error_count",
        "key_count",
    )
    values = [f"{name}={known[name]}" for name in names]
    return ",".join([*values, "wait_ack_count=0", "slow_key_count=0"])


def _config(session: RespCommands, words: list[bytes]) -> Answer:
    _require(words, 2, "ERR Command Arguments Error")
    if words[1].upper() == b"SET":
        _require(words, 4, "ERR Command Arguments Error")
        return resp.error("ERR UnSupport Config Set Parameter")
    wanted = words[2].upper().decode("latin-1") if len(words) > 2 else None
    if wanted == "DATABASES":
        return resp.listing([b"databases", b"%d" % MAX_DATABASE])
    found = [
        part.encode()
        for pair in session.context.config().items()
        if wanted in {None, pair[0]}
        for part in pair
    ]
    return resp.listing(found) if found else resp.error("ERR Unknown Config Parameter")


def _client(session: RespCommands, words: list[bytes]) -> Answer:
    _require(words, 2, "ERR Command Arguments Error")
    if words[1].upper() != b"KILL":
        return resp.bulk(_client_lines(session.context))
    _require(words, 3, "ERR Command Arguments Error")
    if session.context.kill(words[2].decode("latin-1")):
        return resp.OK
    return resp.error("ERR No such client")


def _client_lines(context: ServerContext) -> bytes:
    lines = [
        f"id={client.id} addr={client.address} fd={client.descriptor} "
        f"protocol={client.dialect} age={client.age} "
        f"client_id={client.client_id.hex()} command_count={client.commands}\r\n"
        for client in context.clients()
    ]
    return "".join([*lines, "\r\n"]).encode()


def _flush_database(session: RespCommands, words: list[bytes]) -> Answer:
    _require(words, 2, "ERR Command Parse Len Error")
    db = resp.read_integer(words[1], "ERR Command Parse DB_ID Error") & 0xFF
    if not session.peer.engine.database_exists(db):
        return resp.error("ERR No Such DB")
    session.peer.flush_database(db)
    return resp.OK


def _flush_all(session: RespCommands, words: list[bytes]) -> Answer:
    for db in range(MAX_DATABASE + 1):
        if session.peer.engine.database_exists(db):
            session.peer.flush_database(db)
    return resp.OK


def _shutdown(session: RespCommands, words: list[bytes]) -> Answer:
    if session.context.shutdown():
        return CloseAfter(resp.OK)
    return resp.error("ERR Shutdown Not Allowed")


def _rewrite_log(session: RespCommands, words: list[bytes]) -> Answer:
    return resp.error("Rewrite Error")


def _replicate(session: RespCommands, words: list[bytes]) -> Answer:
    """Answer SLAVEOF: this node is its own leader and cannot follow another."""
    if len(words) == 1 or not words[1]:
        return resp.OK
    if len(words) < 3 or not words[2]:
        return resp.error("ERR Command Arguments Error")
    return resp.error("ERR Change Error")


def _replica_set(session: RespCommands, words: list[bytes]) -> Answer:
    _require(words, 2, "ERR Command Arguments Error")
    return resp.error("ERR Not Replset server")


COMMANDS: Final[dict[bytes, Callable[[RespCommands, list[bytes]], Answer]]] = {
    b"PING": _ping,
    b"ECHO": _echo,
    b"SELECT": _select,
    b"TIMEOUT": _timeout,
    b"QUIT": _quit,
    b"LOCK": _lock,
    b"UNLOCK": _unlock,
    b"PUSH": _push,
    **dict.fromkeys(resp.WRITERS, _write_value),
    **dict.fromkeys(resp.READERS, _read_value),
    b"TTL": _time_to_live,
    b"PTTL": _time_to_live,
    b"KEYS": _keys,
    b"SCAN": _scan,
    b"SHOW": _show,
    b"INFO": _info,
    b"CONFIG": _config,
    b"CLIENT": _client,
    b"FLUSHDB": _flush_database,
    b"FLUSHALL": _flush_all,
    b"SHUTDOWN": _shutdown,
    b"BGREWRITEAOF": _rewrite_log,
    b"REWRITEAOF": _rewrite_log,
    b"SLAVEOF": _replicate,
    b"REPLSET": _replica_set,
}
