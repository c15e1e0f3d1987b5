"""Sessions on one engine, a clock that only waiting moves, and no I/O."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping

from trioslock.engine import Engine
from trioslock.host import EngineHost
from trioslock.protocol import ClientSide, CommandType, LockCommand, Result, to_key
from trioslock.server._context import ClientView
from trioslock.server._session import ServerSession


class FakeServer:
    """The context of sessions, without a server."""

    def __init__(self) -> None:
        self.killed: list[str] = []
        self.shutdown_allowed = True
        self.shut_down = False

    def info(self) -> Mapping[str, Mapping[str, object]]:
        return {"Server": {"version": "0", "state": "leader"}, "Clients": {"n": 1}}

    def config(self) -> Mapping[str, str]:
        return {"BIND": "127.0.0.1", "PORT": "5658"}

    def clients(self) -> Iterable[ClientView]:
        return [ClientView(7, "127.0.0.1:1", 3, "text", 2, bytes(16), 5)]

    def kill(self, address: str) -> bool:
        self.killed.append(address)
        return address == "127.0.0.1:1"

    def shutdown(self) -> bool:
        self.shut_down = self.shutdown_allowed
        return self.shutdown_allowed


class SessionWire:
    """A client's end whose other end is a session."""

    def __init__(self, world: SessionWorld) -> None:
        self._world = world
        self.received = bytearray()
        self.closed = False
        counter = itertools.count(1)
        self.session = ServerSession(
            world.server, new_id=lambda: b"\xee" + next(counter).to_bytes(15, "big")
        )
        session = self.session
        self.peer = world.host.attach(session.deliver, session.close, self.flush)
        session.connect(self.peer)

    def send(self, data: bytes) -> None:
        self.session.receive_data(data)
        self.flush()
        self._world.host.settle()

    def ask(self, *words: bytes | str) -> bytes:
        """Send one text request and return what is answered at once."""
        self.send(request(*words))
        return self.take()

    def take(self) -> bytes:
        taken = bytes(self.received)
        self.received.clear()
        return taken

    def flush(self) -> None:
        while self.session.pump():
            self.received += self.session.take_output()
        self.received += self.session.take_output()
        if self.session.closing:
            self.close()
            self.closed = True

    def close(self) -> None:
        self.peer.detach()


class SessionWorld:
    """See ``tests.trioslock.transcripts.World``."""

    def __init__(self, engine: Engine | None = None) -> None:
        self._now = 0.0
        self.server = FakeServer()
        self.engine = engine or Engine(wall_offset=1_700_000_000.0)
        self.host = EngineHost(self.engine, clock=self.now)

    def now(self) -> float:
        return self._now

    def connect(self) -> SessionWire:
        return SessionWire(self)

    def wait(self, until: float) -> None:
        due = self.engine.next_deadline()
        self._now = until if due is None else min(until, max(due, self._now))
        self.host.advance()

    def pass_time(self, seconds: float) -> None:
        end = self._now + seconds
        while self._now < end:
            self.wait(end)


def lock_command(
    key: str,
    lock_id: str = "a",
    *,
    kind: CommandType = CommandType.LOCK,
    flag: int = 0,
    wait: int = 0,
    lease: int = 9,
    data: bytes | None = None,
) -> LockCommand:
    """Return a LOCK whose request id is its lock id."""
    own = to_key(lock_id)
    return LockCommand(
        kind, own, flag, 0, own, to_key(key), wait, 0, lease, 0, 0, 0, data
    )


def request(*words: bytes | str) -> bytes:
    """Return a text request."""
    raw = [word.encode() if isinstance(word, str) else word for word in words]
    parts = [b"$%d\r\n%b\r\n" % (len(word), word) for word in raw]
    return b"*%d\r\n" % len(parts) + b"".join(parts)


def results(wire: SessionWire) -> list[Result]:
    """Return what a binary connection has been answered since the last look."""
    side = ClientSide()
    side.receive_data(wire.take())
    return side.results()


def codes(wire: SessionWire) -> list[int]:
    """Return the result codes of `results`."""
    return [result.result for result in results(wire)]
