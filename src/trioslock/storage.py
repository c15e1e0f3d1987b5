"""Persistence for an engine: one SQLite file of the held keys.

Each held key is one row: its value and its holders. The row is written once for a
batch of commands, after the batch and before its answers are sent. SQLite itself
repairs a torn tail of its log (the WAL), and each time the log has grown by some
megabytes it is checkpointed into the file.

There is one connection, and only the event loop uses it. SQLite from 3.7.0 to 3.51.2
may lose commits when one connection writes while another one checkpoints
(https://sqlite.org/wal.html, "The WAL-Reset Bug"). Two connections that take turns all
the time also never leave the log idle, so it would grow without end.

The guarantees:

- *The process is killed*: everything that was answered is there. The rows were
  handed to the operating system before the answer was.
- *The machine loses its power*: with ``fsync="always"`` the same. With
  ``fsync="second"`` everything older than about a second and a half, and never half a
  batch.
- *The file cannot be written* (no space, broken disk): the server ends without
  answering; what it answered before is kept.

Why SQLite and no log of its own: docs/decisions/0009-sqlite-for-held-locks.md.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, get_args

import trio

from ._arguments import check_choice, check_type
from .engine import Engine, SavedHolder, SavedKey
from .protocol import FRAME_SIZE, LockCommand, decode_command, encode_lock

__all__ = ["Fsync", "Storage", "StorageError", "open_storage"]

Fsync = Literal["always", "second"]

_APPLICATION_ID = 0x736C6F63
_FORMAT = 1
_FILE, _LOCK_FILE = "held.db", "lock"
_SYNC_PERIOD = 1.0
_LOG_BYTES = 16 * 1_048_576
"""Size to which the log is cut after a larger transaction."""

_HOLDER = struct.Struct("<BqqQ")
_HOLDER_SIZE = FRAME_SIZE + _HOLDER.size

# One transaction: a server that is killed in it leaves an empty file, and an empty
# file counts as new.
_SCHEMA = f"""
    BEGIN;
    CREATE TABLE held (
        db INTEGER NOT NULL,
        name BLOB NOT NULL,
        data BLOB,
        holders BLOB NOT NULL,
        PRIMARY KEY (db, name)
    ) WITHOUT ROWID;
    PRAGMA application_id = {_APPLICATION_ID};
    PRAGMA user_version = {_FORMAT};
    COMMIT;
"""
_UPSERT = "INSERT OR REPLACE INTO held VALUES (?, ?, ?, ?)"
_DELETE = "DELETE FROM held WHERE db = ? AND name = ?"
_SELECT = "SELECT db, name, data, holders FROM held"


class StorageError(Exception):
    """The files cannot be used or written; the message names them and the reason."""


class Storage:
    """The held keys on disk; made by `open_storage`.

    Attributes:
        keys: Number of keys in the file.
    """

    def __init__(self, directory: Path, fsync: Fsync) -> None:
        self._path = directory / _FILE
        self._log_path = directory / f"{_FILE}-wal"
        self._fsync = fsync
        self._lock = _lock(directory / _LOCK_FILE)
        try:
            self._database = _open(self._path, fsync)
            self._stored = {
                (int(db), bytes(name))
                for db, name in self._database.execute("SELECT db, name FROM held")
            }
        except (sqlite3.Error, StorageError) as error:
            os.close(self._lock)
            raise _error(self._path, error) from error

    def __repr__(self) -> str:
        return f"<Storage in {str(self._path)!r}: {self.keys} keys, {self._fsync}>"

    @property
    def keys(self) -> int:
        """Number of keys in the file."""
        return len(self._stored)

    def load(self, engine: Engine, now: float) -> None:
        """Hold the keys of the file in an empty engine, and watch its changes.

        Raises:
            StorageError: The file is damaged, or does not fit into the engine.
        """
        try:
            rows = self._database.execute(_SELECT)
            engine.restore(map(_decode, rows), now)
        except (sqlite3.Error, ValueError, OverflowError, struct.error) as error:
            raise _error(self._path, error) from error
        engine.watch_changes()

    def record(self, engine: Engine) -> None:
        """Write the changes of an engine; to be called before its answers are sent.

        With ``fsync="always"`` this blocks until the disk has them, for all peers.

        Raises:
            StorageError: They cannot be written.
        """
        changes = engine.take_changes()
        if not changes:
            return
        upserts: list[tuple[int, bytes, bytes | None, bytes]] = []
        deletes: list[tuple[int, bytes]] = []
        for change in changes:
            saved = engine.save(*change)
            if saved is not None:
                upserts.append(_encode(saved))
            # A key that came and went within the batch has no row to delete.
            elif change in self._stored:
                deletes.append(change)
        if upserts or deletes:
            self._write(upserts, deletes)

    def _write(
        self,
        upserts: list[tuple[int, bytes, bytes | None, bytes]],
        deletes: list[tuple[int, bytes]],
    ) -> None:
        execute, many = self._database.execute, self._database.executemany
        try:
            execute("BEGIN")
            many(_DELETE, deletes)
            many(_UPSERT, upserts)
            execute("COMMIT")
        except sqlite3.Error as error:
            raise _error(self._path, error) from error
        self._stored.difference_update(deletes)
        self._stored.update((db, name) for db, name, _, _ in upserts)

    async def run(
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Sync the log to the disk every second, in a thread, until cancelled.

        With ``fsync="always"`` each write is synced, and there is nothing to do.

        Raises:
            StorageError: The disk cannot be written.

        Cancellation:
            Everything is in the files; the last second may not be on the disk.
        """
        task_status.started()
        await trio.lowlevel.checkpoint()
        while self._fsync == "second":
            await trio.sleep(_SYNC_PERIOD)
            await trio.to_thread.run_sync(self._sync)

    def _sync(self) -> None:
        """Wait until the log is on the disk."""
        # POSIX drops a process's locks on a file with each descriptor that it closes.
        # SQLite has none on the log, so a descriptor of our own is safe.
        try:
            descriptor = os.open(self._log_path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise _error(self._log_path, error) from error

    def close(self) -> None:
        """Write everything to the disk, and unlock the files for another server.

        Raises:
            StorageError: The disk cannot be written.
        """
        try:
            self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as error:
            raise _error(self._path, error) from error
        finally:
            self._database.close()
            os.close(self._lock)


def open_storage(directory: Path, *, fsync: Fsync = "second") -> Storage:
    """Open the files in a directory, which is made if it does not exist.

    Args:
        directory: For the files of one server.
        fsync: ``always`` syncs to the disk before each batch of answers, ``second``
            once a second.

    Raises:
        StorageError: Another server uses them, they are damaged or of another
            program, or they cannot be written.
    """
    check_type(directory, Path, "directory", "a Path")
    check_choice(fsync, "fsync", *get_args(Fsync))
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{directory}: {error.strerror}") from error
    return Storage(directory, fsync)


def _lock(path: Path) -> int:
    """Lock a file and return its descriptor; the lock ends when that is closed."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise StorageError(f"{path.parent}: another server uses it") from error
    return descriptor


def _open(path: Path, fsync: Fsync) -> sqlite3.Connection:
    # isolation_level=None: the module begins no transaction by itself.
    database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        _prepare(database, fsync)
    except BaseException:
        database.close()
        raise
    return database


def _prepare(database: sqlite3.Connection, fsync: Fsync) -> None:
    ours = _pragma(database, "application_id"), _pragma(database, "user_version")
    tables = database.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if ours == (0, 0) and not tables:
        database.executescript(_SCHEMA)
    elif ours != (_APPLICATION_ID, _FORMAT):
        raise StorageError("this is no file of trioslock, or one of another version")
    if database.execute("PRAGMA quick_check").fetchone()[0] != "ok":
        raise StorageError("the file is damaged")
    database.execute("PRAGMA journal_mode = WAL")
    # NORMAL syncs at each checkpoint. Without that (OFF) a loss of power may leave a
    # mix of old and new pages, which is a damaged file.
    level = "FULL" if fsync == "always" else "NORMAL"
    database.execute(f"PRAGMA synchronous = {level}")
    database.execute(f"PRAGMA journal_size_limit = {_LOG_BYTES}")


def _pragma(database: sqlite3.Connection, name: str) -> int:
    return int(database.execute(f"PRAGMA {name}").fetchone()[0])


def _error(path: Path, error: Exception) -> StorageError:
    return StorageError(f"{path}: {error}")


def _encode(saved: SavedKey) -> tuple[int, bytes, bytes | None, bytes]:
    holders = b"".join(
        encode_lock(holder.command) + _HOLDER.pack(*holder[1:])
        for holder in saved.holders
    )
    return saved.db, saved.name, saved.data, holders


def _decode(row: tuple[int, bytes, bytes | None, bytes]) -> SavedKey:
    db, name, data, raw = row
    if not raw or len(raw) % _HOLDER_SIZE:
        raise ValueError(f"key {name.hex()} of database {db} has torn holders")
    return SavedKey(db, name, data, tuple(_holders(raw)))


def _holders(raw: bytes) -> Iterator[SavedHolder]:
    for offset in range(0, len(raw), _HOLDER_SIZE):
        command = decode_command(raw, offset)
        if not isinstance(command, LockCommand):
            raise ValueError("a holder has no LOCK")
        yield SavedHolder(command, *_HOLDER.unpack_from(raw, offset + FRAME_SIZE))
