"""What is held outlives the process: kept, restored, and killed 200 times."""

from __future__ import annotations

import os
import random
import resource
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.trioslock.forked import FORKS, serving

from trioslock.engine import Engine, EngineLimits
from trioslock.protocol import (
    ClientSide,
    Data,
    LockCommand,
    LockResult,
    ResultCode,
    encode_lock,
)
from trioslock.storage import Fsync, StorageError, open_storage

UNLIMITED, NEVER_LOG, MILLISECONDS = 0x4000, 0x0200, 0x0400
KEEPALIVE = 0x8000


def identity(number: int) -> bytes:
    return number.to_bytes(16, "big")


def lock(
    key: bytes, number: int, *, unit: int = UNLIMITED, lease: int = 1, **fields: object
) -> LockCommand:
    lock_id = identity(number)
    command = LockCommand(1, lock_id, 0, 0, lock_id, key, 0, 0, lease, unit, 0, 0)
    return command._replace(**fields)  # type: ignore[arg-type]


def unlock(key: bytes, number: int) -> LockCommand:
    lock_id = identity(number)
    return LockCommand(2, lock_id, 0, 0, lock_id, key, 0, 0, 0, 0, 0, 0)


KEY, OTHER = b"k" * 16, b"o" * 16


class Node:
    """An engine with a clock and a storage."""

    def __init__(self, directory: Path, now: float = 1000.0) -> None:
        self.engine = Engine()
        self.storage = open_storage(directory)
        self.storage.load(self.engine, now)
        self.now = now
        self.peer = self.engine.add_peer(now)

    def send(self, *commands: LockCommand) -> None:
        for command in commands:
            self.engine.submit(self.peer, command, self.now)
        self.storage.record(self.engine)

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.engine.advance(self.now)
        self.storage.record(self.engine)

    def restart(self, directory: Path, away: float = 0.0) -> Node:
        self.storage.close()
        return Node(directory, self.now + away)

    def holders(self, key: bytes = KEY) -> list[tuple[bytes, int, int | None]]:
        view = self.engine.inspect(0, key)
        if view is None:
            return []
        return [(each.lock_id, each.levels, each.expires_at) for each in view.holders]


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    node = Node(tmp_path)
    yield node
    node.storage.close()


def restarted(node: Node, tmp_path: Path, away: float = 0.0) -> Node:
    """Restart in place, so that the fixture closes the new storage."""
    new = node.restart(tmp_path, away)
    node.storage = new.storage
    return new


def test_holders_levels_and_data_come_back(node: Node, tmp_path: Path) -> None:
    """In their order, with what their LOCK said, and with the key's value."""
    data = Data.set("value").encode()
    first = lock(KEY, 1, max_count=5, rcount=3, data=data)
    node.send(first, first._replace(data=None), lock(KEY, 2, max_count=5))
    before = node.engine.inspect(0, KEY)
    new = restarted(node, tmp_path)
    assert new.engine.inspect(0, KEY) == before
    assert new.holders() == [(identity(1), 2, None), (identity(2), 1, None)]
    assert new.engine.counters(0).locked_count == 3
    # And it works on from there.
    new.send(unlock(KEY, 1), unlock(KEY, 2))
    assert new.storage.keys == 0
    assert new.engine.statistics().data_bytes == 0


def test_leases_count_the_time_away(node: Node, tmp_path: Path) -> None:
    """A lease ends when it would have ended; one that is over sends no notice."""
    node.send(lock(KEY, 1, unit=0, lease=30), lock(OTHER, 2, unit=0, lease=5))
    end = node.holders()[0][2]
    new = restarted(node, tmp_path, away=20)
    assert new.holders()[0][2] == end
    new.wait(1)
    assert new.holders(OTHER) == []
    new.wait(10)
    assert new.holders() == []
    assert new.storage.keys == 0


def test_milliseconds_come_back_exact(node: Node, tmp_path: Path) -> None:
    """A lease of 2.5 s ends after 2.5 s, wherever the restart falls."""
    node.send(lock(KEY, 1, unit=MILLISECONDS, lease=2500))
    new = restarted(node, tmp_path, away=2.4)
    new.wait(0.05)
    assert len(new.holders()) == 1
    new.wait(0.06)
    assert new.holders() == []


def test_a_session_lease_ends_without_its_session(node: Node, tmp_path: Path) -> None:
    """A keep-alive lease belongs to a connection, which is gone."""
    node.send(lock(KEY, 1, unit=KEEPALIVE, lease=3))
    node.wait(60)
    assert len(node.holders()) == 1
    new = restarted(node, tmp_path)
    new.wait(5)
    assert new.holders() == []


def test_what_is_not_kept(node: Node, tmp_path: Path) -> None:
    """Waiters, locks that are never to be logged, and what was released."""
    waits = lock(KEY, 2, timeout=60)
    node.send(lock(KEY, 1), waits, lock(OTHER, 3, unit=NEVER_LOG | UNLIMITED))
    node.send(lock(b"r" * 16, 4))
    node.send(unlock(b"r" * 16, 4))
    assert node.storage.keys == 1
    assert "1 keys" in repr(node.storage)
    new = restarted(node, tmp_path)
    view = new.engine.inspect(0, KEY)
    assert view is not None
    assert view.waiters == ()
    assert new.engine.statistics().keys == 1


def test_a_flushed_database_is_empty(node: Node, tmp_path: Path) -> None:
    """FLUSHDB reaches the disk."""
    node.send(lock(KEY, 1), lock(OTHER, 2))
    node.engine.flush(0, node.now)
    node.storage.record(node.engine)
    assert restarted(node, tmp_path).engine.statistics().keys == 0


def test_one_server_a_directory(node: Node, tmp_path: Path) -> None:
    """A second one fails at its start, with the reason."""
    with pytest.raises(StorageError, match="another server uses it"):
        open_storage(tmp_path)


def damage_header(path: Path) -> None:
    path.write_bytes(b"no database at all " * 100)


def damage_foreign(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE notes (text)")
    database.close()


def damage_holders(path: Path) -> None:
    database = sqlite3.connect(path)
    database.execute("UPDATE held SET holders = x'00'")
    database.commit()
    database.close()


def damage_command(path: Path) -> None:
    database = sqlite3.connect(path)
    database.execute("UPDATE held SET holders = zeroblob(89)")
    database.commit()
    database.close()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_header, "not a database"),
        (damage_foreign, "no file of trioslock"),
        (damage_holders, "torn"),
        (damage_command, "no LOCK"),
    ],
)
def test_damaged_files_are_refused(
    tmp_path: Path, damage: object, message: str
) -> None:
    """Nothing is guessed: the server does not start, and names the reason."""
    node = Node(tmp_path)
    node.send(lock(KEY, 1))
    node.storage.close()
    damage(tmp_path / "held.db")  # type: ignore[operator]
    with pytest.raises(StorageError, match=message):
        storage = open_storage(tmp_path)
        try:
            storage.load(Engine(), 0.0)
        finally:
            storage.close()


def test_more_than_the_limits_allow(tmp_path: Path) -> None:
    """A smaller server does not drop what a larger one has kept."""
    node = Node(tmp_path)
    node.send(lock(KEY, 1), lock(OTHER, 2))
    node.storage.close()
    storage = open_storage(tmp_path)
    with pytest.raises(StorageError, match="limits"):
        storage.load(Engine(limits=EngineLimits(keys=1)), 0.0)
    storage.close()


def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    """A file stands in its place."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="file"):
        open_storage(tmp_path / "file" / "data")
    (tmp_path / "dir" / "lock").mkdir(parents=True)
    with pytest.raises(StorageError, match="lock"):
        open_storage(tmp_path / "dir")


def test_the_log_does_not_grow_with_what_was_written(
    node: Node, tmp_path: Path
) -> None:
    """Some 30 MB of changes to one key: the log is folded again and again."""
    for number in range(1500):
        data = Data.set(bytes(20_000)).encode()
        node.send(lock(KEY, number, data=data), unlock(OTHER, number))
        node.send(unlock(KEY, number))
    assert (tmp_path / "held.db-wal").stat().st_size < 8_000_000
    assert (tmp_path / "held.db").stat().st_size < 1_000_000


@pytest.mark.parametrize("spoil", [lambda raw: raw[:-700], lambda raw: raw + raw[:900]])
def test_a_torn_tail_is_repaired(
    node: Node, tmp_path: Path, spoil: Callable[[bytes], bytes]
) -> None:
    """A last transaction that is not whole never happened; all before it did."""
    for number in range(1, 30):
        node.send(lock(identity(number), number))
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "held.db").write_bytes((tmp_path / "held.db").read_bytes())
    log = (tmp_path / "held.db-wal").read_bytes()
    (copy / "held.db-wal").write_bytes(spoil(log))
    storage = open_storage(copy)
    assert storage.keys == (28 if len(spoil(log)) < len(log) else 29)
    storage.close()


# As a process.


def _open_and_stay(directory: Path) -> None:
    open_storage(directory, fsync="always")
    signal.pause()


@pytest.mark.long
@pytest.mark.timeout(600)
def test_killed_at_its_very_first_start(tmp_path: Path) -> None:
    """However little of a new file is there, the next server can use it."""
    for number in range(60):
        directory = tmp_path / str(number)
        process = FORKS.Process(target=_open_and_stay, args=(directory,))
        process.start()
        while not (directory / "held.db").exists():
            pass
        time.sleep(number * 0.0002)
        process.kill()
        process.join()
        process.close()
        open_storage(directory).close()


@pytest.mark.slow
def test_an_idle_server_syncs_too(tmp_path: Path) -> None:
    """The task that syncs finds its file from the start."""
    with serving("--data", str(tmp_path)) as (port, _):
        time.sleep(1.3)
        connection = Connection(port)
        assert len(connection.ask(lock(KEY, 1))) == 1
        time.sleep(1.1)
        assert len(connection.ask(unlock(KEY, 1))) == 1
        connection.close()


class Connection:
    """A blocking client of the binary dialect."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=5)
        self.side = ClientSide()

    def ask(self, *commands: LockCommand) -> list[LockResult]:
        """Send all at once; return what is answered before the server is gone."""
        found: list[LockResult] = []
        try:
            self.socket.sendall(b"".join(map(encode_lock, commands)))
            while len(found) < len(commands):
                if not (data := self.socket.recv(65536)):
                    break
                self.side.receive_data(data)
                found += [r for r in self.side.results() if isinstance(r, LockResult)]
        except (ConnectionError, BrokenPipeError):
            pass
        return found

    def close(self) -> None:
        self.socket.close()


class Ledger:
    """What a client knows of its keys: the answers it had, and what is open.

    Each key is free, or held by one lock id whose number is also its value.
    """

    def __init__(self, seed: int, keys: int = 8) -> None:
        self.random = random.Random(seed)
        self.keys = [identity(1000 + number) for number in range(keys)]
        self.held: dict[bytes, int] = {}
        self.open: dict[bytes, set[int]] = {}
        self.serial = 0
        self.confirmed = 0

    def commands(self) -> list[LockCommand]:
        """Acquire or release some keys, each once."""
        chosen = self.random.sample(self.keys, self.random.randint(1, len(self.keys)))
        return [self.command(key) for key in chosen]

    def command(self, key: bytes) -> LockCommand:
        held = self.held.get(key, 0)
        if held:
            self.open[key] = {held, 0}
            return unlock(key, held)
        self.serial += 1
        self.open[key] = {0, self.serial}
        data = Data.set(str(self.serial)).encode()
        return lock(key, self.serial, data=data)

    def learn(self, result: LockResult) -> None:
        assert result.result == ResultCode.SUCCED
        taken = result.type == 1
        self.settle(result.key, int.from_bytes(result.lock_id) if taken else 0)
        self.confirmed += 1

    def settle(self, key: bytes, holder: int) -> None:
        self.held[key] = holder
        self.open.pop(key, None)

    def check(self, connection: Connection) -> None:
        """Compare with a restarted server, and learn what was open."""
        for key in self.keys:
            (answer,) = connection.ask(lock(key, 999, unit=0, lease=0, flag=1))
            holder = 0
            if answer.result == ResultCode.UNOWN_ERROR:
                holder = int.from_bytes(answer.lock_id)
                assert answer.lcount == 1
                assert answer.data == Data.set(str(holder)).encode()
            else:
                assert answer.result == ResultCode.SUCCED
            assert holder in self.open.get(key, {self.held.get(key, 0)})
            self.settle(key, holder)


@pytest.mark.long
@pytest.mark.parametrize(("fsync", "kills"), [("second", 150), ("always", 50)])
def test_killed_two_hundred_times(tmp_path: Path, fsync: Fsync, kills: int) -> None:
    """Nothing that was answered is lost, nothing that was released returns."""
    ledger = Ledger(seed=kills)
    for _ in range(kills):
        with serving("--data", str(tmp_path), "--fsync", fsync) as (port, pid):
            connection = Connection(port)
            ledger.check(connection)
            delay = ledger.random.uniform(0, 0.03)
            killer = threading.Timer(delay, os.kill, (pid, signal.SIGKILL))
            killer.start()
            while not ledger.open:
                for result in connection.ask(*ledger.commands()):
                    ledger.learn(result)
            killer.join()
            connection.close()
    with serving("--data", str(tmp_path)) as (port, _):
        connection = Connection(port)
        ledger.check(connection)
        connection.close()
    assert ledger.confirmed > 5 * kills


def test_sigterm_keeps_everything(tmp_path: Path) -> None:
    """An orderly end leaves one file, without a log behind it."""
    with serving("--data", str(tmp_path)) as (port, pid):
        connection = Connection(port)
        connection.ask(lock(KEY, 1))
        os.kill(pid, signal.SIGTERM)
        while connection.socket.recv(100):
            pass
        connection.close()
        deadline = time.monotonic() + 5
        while (tmp_path / "held.db-wal").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
    assert not (tmp_path / "held.db-wal").exists()
    storage = open_storage(tmp_path)
    assert storage.keys == 1
    storage.close()


def command_line(*words: str) -> list[str]:
    return [sys.executable, "-m", "trioslock", "serve", "--port", "0", *words]


def test_a_directory_in_use_ends_the_command(node: Node, tmp_path: Path) -> None:
    """With one sentence."""
    result = subprocess.run(
        command_line("--data", str(tmp_path)),
        capture_output=True,
        check=False,
        text=True,
        timeout=20,
    )
    assert result.returncode == 1
    assert result.stderr == f"trioslock: {tmp_path}: another server uses it\n"


@pytest.mark.slow
def test_no_space_ends_the_server_before_it_lies(tmp_path: Path) -> None:
    """What cannot be written is not answered, and the server names the reason."""
    process = subprocess.Popen(
        command_line("--data", str(tmp_path)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    port = int(process.stdout.readline().rpartition(":")[2])
    # The kernel refuses to let a file grow beyond this, as a full disk would.
    limit = (300_000, resource.RLIM_INFINITY)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, limit)
    connection = Connection(port)
    answered = 0
    for number in range(1, 100):
        data = Data.set(bytes(10_000)).encode()
        results = connection.ask(lock(identity(number), number, data=data))
        if not results:
            break
        answered += len(results)
    connection.close()
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "held.db" in errors
    assert "Traceback" not in errors
    assert 0 < answered < 40
    storage = open_storage(tmp_path)
    assert storage.keys == answered
    storage.close()
