"""The same random conversations with a real server and with the engine.

A command goes to both; then a fence, a LOCK that is granted and released at once,
goes through each connection, and everything that came before it is compared. (A
PING would not do as a fence: the real server writes its answer at once while
results of LOCKs from the same packet wait in a buffer.)
"""

from __future__ import annotations

import os
import random
import socket
import time
from collections.abc import Callable, Iterator

import pytest
from tests.trioslock.engine.sequences import (
    ASYNCHRONOUS,
    CONNECTIONS,
    KEYS,
    LOCK_IDS,
    TIMELESS,
    Profile,
    Submit,
    make_sequence,
    upsets_the_real_server,
)

from trioslock.engine import Engine
from trioslock.protocol import (
    FRAME_SIZE,
    Command,
    InitCommand,
    LockCommand,
    LockResult,
    Result,
    decode_result,
    encode_command,
    result_trailer_size,
)

pytestmark = [pytest.mark.live, pytest.mark.slow]

# Seeds that found something while the generator was made; see the conformance page.
KEPT_SEEDS = (191, 676, 2254, 2533, 8695)


def momentary(key: bytes, db: int = 0) -> LockCommand:
    """A LOCK that leaves nothing behind."""
    return LockCommand(1, os.urandom(16), 0, db, os.urandom(16), key, 0, 0, 0, 0, 0, 0)


class Connection:
    """A connection to a real server that knows when it has seen everything."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._socket = socket.create_connection(address, timeout=5)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = b""
        self._fence = b""
        self.send(InitCommand(os.urandom(16), os.urandom(16)))
        self.collect()

    def close(self) -> None:
        self._socket.close()

    def send(self, command: Command) -> None:
        """Send a command; ``fence`` comes after it."""
        self._socket.sendall(encode_command(command))
        self.fence()

    def fence(self) -> None:
        command = momentary(os.urandom(16))
        self._fence = command.request_id
        self._socket.sendall(encode_command(command))

    def collect(self) -> list[Result]:
        """Return all results before that of the fence."""
        results: list[Result] = []
        while True:
            for result in self._results():
                if result.request_id == self._fence:
                    return results
                results.append(result)
            data = self._socket.recv(1 << 16)
            assert data, "the real server has closed the connection"
            self._buffer += data

    def _results(self) -> Iterator[Result]:
        while len(self._buffer) >= FRAME_SIZE:
            size = result_trailer_size(self._buffer, 0)
            if size is None or len(self._buffer) < FRAME_SIZE + size:
                return
            end = FRAME_SIZE + size
            trailer = self._buffer[FRAME_SIZE:end] if size else None
            result = decode_result(self._buffer, 0, trailer)
            self._buffer = self._buffer[end:]
            yield result


class Pair:
    """A real server and an engine, spoken to in step.

    Args:
        connections: To the real server.
        settle: Seconds to wait behind each command, for what is done later.
    """

    def __init__(self, connections: list[Connection], settle: float) -> None:
        self._connections = connections
        self._settle = settle
        offset = time.time() - time.monotonic()
        self.engine = Engine(wall_offset=offset, new_id=lambda: b"made by a server")
        self._peers = [self.engine.add_peer(self.now()) for _ in connections]
        for db in (0, 1):
            self.submit(0, momentary(os.urandom(16), db))

    @staticmethod
    def now() -> float:
        return time.monotonic()

    def submit(
        self, place: int, command: LockCommand
    ) -> tuple[list[list[Result]], list[list[Result]]]:
        """Send a command to both and return their results by connection."""
        replies = self.engine.submit(self._peers[place], command, self.now())
        self._connections[place].send(command)
        theirs: list[list[Result]] = [[] for _ in self._connections]
        theirs[place] = self._connections[place].collect()
        until = self.now() + self._settle
        while (now := self.now()) < until:
            due = self.engine.next_deadline() or until
            time.sleep(max(0.0, min(until, due) - now))
            replies += self.engine.advance(self.now())
        for connection in self._connections:
            connection.fence()
        for number, connection in enumerate(self._connections):
            theirs[number] += connection.collect()
        ours: list[list[Result]] = [[] for _ in self._connections]
        for reply in replies:
            assert isinstance(reply.result, LockResult)
            ours[self._peers.index(reply.peer)].append(reply.result)
        return theirs, ours

    def clear(self, keys: list[bytes], lock_ids: list[bytes]) -> None:
        """Free all keys on the real server."""
        for db in (0, 1):
            for key in keys:
                for lock_id in lock_ids:
                    self._unlock(key, db, lock_id, 0x03)
                self._unlock(key, db, os.urandom(16), 0x01)

    def _unlock(self, key: bytes, db: int, lock_id: bytes, flag: int) -> None:
        connection = self._connections[0]
        command = momentary(key, db)._replace(type=2, flag=flag, lock_id=lock_id)
        for _ in range(100):
            connection.send(command)
            results = [r for r in connection.collect() if isinstance(r, LockResult)]
            if all(r.result in (3, 6, 7) for r in results if r.type == 2):
                return


@pytest.fixture
def connections(slock_address: tuple[str, int]) -> Iterator[list[Connection]]:
    """Connections that the steps of a sequence go through."""
    opened = [Connection(slock_address) for _ in range(CONNECTIONS)]
    yield opened
    for each in opened:
        each.close()


def renamed(command: LockCommand, names: dict[bytes, bytes]) -> LockCommand:
    """Put other names for the keys, also where they are lock ids or in data."""
    data = command.data
    for old, new in names.items():
        data = None if data is None else data.replace(old, new)
    key, lock_id = command.key, command.lock_id
    return command._replace(
        key=names.get(key, key), lock_id=names.get(lock_id, lock_id), data=data
    )


def play(
    connections: list[Connection],
    profile: Profile,
    seed: int,
    *,
    settle: float = 0.0,
    view: Callable[[list[Result]], object] = list,
) -> None:
    """Play one sequence against both, on keys never used before.

    Once there was data, a key that is free again ends it: how long the real server
    keeps that data is not fixed.
    """
    first = os.urandom(16)
    names = dict(zip(KEYS, (first, first[::-1], os.urandom(16)), strict=True))
    pair = Pair(connections, settle)
    with_data = False
    try:
        for number, step in enumerate(make_sequence(random.Random(seed), profile, 16)):
            if not isinstance(step, Submit) or upsets_the_real_server(step.command):
                continue
            command = renamed(step.command, names)
            theirs, ours = pair.submit(step.connection, command)
            assert [*map(view, ours)] == [*map(view, theirs)], (seed, number, command)
            with_data = with_data or command.data is not None
            if with_data and pair.engine.inspect(command.db, command.key) is None:
                return
    finally:
        pair.clear([*names.values()], [names.get(each, each) for each in LOCK_IDS])


def test_same_results_in_the_same_order(connections: list[Connection]) -> None:
    """Whatever has the same outcome however slow the server is."""
    for seed in (*KEPT_SEEDS, *range(400)):
        play(connections, TIMELESS, seed)


def in_any_order(results: list[Result]) -> object:
    """What of results does not depend on when the server came to it.

    A request id that the server has made is random. Whether an ending shows the
    value, and which stale level it shows, is left to chance there; so is the value
    that a key shows which has just become free.
    """
    shown = []
    for result in results:
        assert isinstance(result, LockResult)
        fields = result._asdict()
        if not result.request_id.startswith(b"request\0"):
            fields["request_id"] = b"made by a server"
        if result.result in (6, 8, 9):
            fields |= {"data": None, "flag": 0, "lrcount": 0}
        shown.append(sorted(fields.items()))
    return sorted(map(repr, shown))


def test_same_results_where_the_order_is_open(connections: list[Connection]) -> None:
    """Milliseconds, reversed keys, trees, EXECUTE and acknowledged locks."""
    for seed in range(25):
        play(connections, ASYNCHRONOUS, seed, settle=0.15, view=in_any_order)
