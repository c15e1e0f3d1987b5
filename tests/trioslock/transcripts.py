"""Replay the recorded conversations against anything that takes bytes.

``replay`` walks through the steps of one transcript in a `World`: something that
opens wires and lets time pass. `EngineWorld` has an engine on virtual time in it
and runs in no time; a world of sockets is `TcpWorld`.
"""

from __future__ import annotations

import json
import select
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from trioslock.engine import ClosePeer, Engine, Reply
from trioslock.protocol import (
    FRAME_SIZE,
    Result,
    command_trailer_size,
    decode_command,
    encode_result,
)

VECTORS = Path(__file__).parent.parent / "vectors" / "slock-transcripts.jsonl"


class Transcript(NamedTuple):
    name: str
    needs: frozenset[str]
    steps: list[dict[str, Any]]


def load_transcripts() -> list[Transcript]:
    lines = VECTORS.read_text(encoding="utf-8").splitlines()
    items = [json.loads(line) for line in lines if line.strip()]
    return [
        Transcript(item["name"], frozenset(item.get("needs", ())), item["steps"])
        for item in items
    ]


class Wire(Protocol):
    """The client's end of a connection."""

    received: bytearray
    closed: bool

    def send(self, data: bytes) -> None: ...

    def close(self) -> None: ...


class World(Protocol):
    """Opens wires and has a clock."""

    def now(self) -> float: ...

    def connect(self) -> Wire: ...

    def wait(self, until: float) -> None:
        """Let time pass up to ``until``, or until something may have arrived."""
        ...


def replay(world: World, transcript: Transcript, *, slack: float = 0.0) -> None:
    """Play a transcript and check all of its expectations.

    Args:
        world: Where to play it.
        transcript: What to play.
        slack: Seconds added to every upper bound.
    """
    wires: dict[str, Wire] = {}
    mark = world.now()
    for number, step in enumerate(transcript.steps):
        where = f"step {number} {step.get('conn', '')} {step.get('as', '')}"
        if "sleep_ms" in step:
            _sleep(world, world.now() + step["sleep_ms"] / 1000)
            continue
        wire = wires.get(step["conn"])
        if wire is None:
            wire = wires[step["conn"]] = world.connect()
        if "send" in step:
            wire.send(bytes.fromhex(step["send"]))
            mark = world.now()
        elif "expect" in step:
            deadline = mark + step.get("within_ms", 1000) / 1000 + slack
            _expect(world, wire, step["expect"], deadline, where)
            early = step.get("min_ms", 0) / 1000 - (world.now() - mark)
            assert early <= 0, f"{where}: {early:.3f} s too early"
        elif "silent_ms" in step:
            _stay_silent(world, wire, world.now() + step["silent_ms"] / 1000, where)
        elif "close" in step:
            wires.pop(step["conn"]).close()
            mark = world.now()
        else:
            assert "closed" in step, f"{where}: unknown step"
            deadline = mark + step.get("within_ms", 1000) / 1000 + slack
            _expect_close(world, wire, deadline, where)
    world.wait(world.now())
    for name, wire in wires.items():
        assert not wire.received, f"left over on {name}: {wire.received.hex()}"
        wire.close()


def _sleep(world: World, until: float) -> None:
    while world.now() < until:
        world.wait(until)


def _expect(
    world: World, wire: Wire, pattern: str, deadline: float, where: str
) -> None:
    size = len(pattern) // 2
    while len(wire.received) < size and not wire.closed and world.now() < deadline:
        world.wait(deadline)
    got = bytes(wire.received[:size])
    del wire.received[:size]
    want = "".join(
        pattern[place : place + 2]
        if pattern[place : place + 2] != ".."
        else got[place // 2 : place // 2 + 1].hex()
        for place in range(0, len(pattern), 2)
    )
    assert got.hex() == want.lower(), where


def _stay_silent(world: World, wire: Wire, until: float, where: str) -> None:
    while not wire.received and not wire.closed and world.now() < until:
        world.wait(until)
    assert not wire.received, f"{where}: silence expected, got {wire.received.hex()}"
    assert not wire.closed, f"{where}: closed while silence was expected"


def _expect_close(world: World, wire: Wire, deadline: float, where: str) -> None:
    while not wire.received and not wire.closed and world.now() < deadline:
        world.wait(deadline)
    assert not wire.received, f"{where}: close expected, got {wire.received.hex()}"
    assert wire.closed, f"{where}: still open"


# The engine on virtual time.


class EngineSession(Protocol):
    """What stands between a wire and the engine; its results come by ``deliver``."""

    closing: bool

    def receive(self, data: bytes) -> None: ...

    def deliver(self, result: Result) -> None: ...

    def take_output(self) -> bytes: ...


class BinarySession:
    """The least that an engine needs to answer well-formed binary frames."""

    def __init__(self, submit: Callable[[Any], None]) -> None:
        self._submit = submit
        self._buffer = b""
        self._output: list[bytes] = []
        self.closing = False

    def receive(self, data: bytes) -> None:
        buffer = self._buffer + data
        while len(buffer) >= FRAME_SIZE:
            assert buffer[:2] == b"\x56\x01", "a session is needed for bad headers"
            size = command_trailer_size(buffer, 0)
            if size is None or len(buffer) < FRAME_SIZE + size:
                break
            end = FRAME_SIZE + size
            trailer = buffer[FRAME_SIZE:end] if size else None
            self._submit(decode_command(buffer, 0, trailer))
            buffer = buffer[end:]
        self._buffer = buffer

    def deliver(self, result: Result) -> None:
        self._output.append(encode_result(result))

    def take_output(self) -> bytes:
        output, self._output = b"".join(self._output), []
        return output


class EngineWire:
    """A wire that ends in a session and an engine in this process."""

    def __init__(self, world: EngineWorld) -> None:
        self._world = world
        self.received = bytearray()
        self.closed = False
        self.peer = world.engine.add_peer(world.now())
        self.session = world.make_session(self._submit)

    def _submit(self, command: Any) -> None:
        world = self._world
        world.dispatch(world.engine.submit(self.peer, command, world.now()))

    def send(self, data: bytes) -> None:
        self.session.receive(data)
        self._world.flush()

    def close(self) -> None:
        self._world.drop(self)

    def flush(self) -> None:
        self.received += self.session.take_output()


class EngineWorld:
    """An engine with a clock that only waiting moves.

    Args:
        engine: A fresh engine, its ``now`` starting at 0.
        make_session: Makes the session of a wire out of its ``submit``.
    """

    def __init__(
        self,
        engine: Engine,
        make_session: Callable[[Callable[[Any], None]], EngineSession] = BinarySession,
    ) -> None:
        self.engine = engine
        self.make_session = make_session
        self._now = 0.0
        self._wires: dict[int, EngineWire] = {}

    def now(self) -> float:
        return self._now

    def connect(self) -> EngineWire:
        wire = EngineWire(self)
        self._wires[wire.peer] = wire
        return wire

    def wait(self, until: float) -> None:
        due = self.engine.next_deadline()
        self._now = until if due is None else min(until, max(due, self._now))
        self.dispatch(self.engine.advance(self._now))
        self.flush()

    def dispatch(self, replies: list[Reply]) -> None:
        for reply in replies:
            wire = self._wires[reply.peer]
            if isinstance(reply.result, ClosePeer):
                wire.session.closing = True
            else:
                wire.session.deliver(reply.result)

    def flush(self) -> None:
        for wire in list(self._wires.values()):
            wire.flush()
            if wire.session.closing:
                self.drop(wire)
                wire.closed = True

    def drop(self, wire: EngineWire) -> None:
        if self._wires.pop(wire.peer, None) is not None:
            self.dispatch(self.engine.drop_peer(wire.peer, self._now))


# Sockets.


class TcpWire:
    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address, timeout=5)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received = bytearray()
        self.closed = False

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def close(self) -> None:
        self.socket.close()

    def read(self) -> None:
        try:
            data = self.socket.recv(1 << 20)
        except ConnectionError:
            data = b""
        self.received += data
        self.closed = not data


class TcpWorld:
    """A server at an address, and the real clock. It blocks its thread."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._wires: list[TcpWire] = []

    def now(self) -> float:
        return time.monotonic()

    def connect(self) -> TcpWire:
        wire = TcpWire(self._address)
        self._wires.append(wire)
        return wire

    def wait(self, until: float) -> None:
        open_wires = {
            wire.socket: wire
            for wire in self._wires
            if not wire.closed and wire.socket.fileno() >= 0
        }
        timeout = max(0.0, until - time.monotonic())
        ready, _, _ = select.select(list(open_wires), [], [], timeout)
        for each in ready:
            open_wires[each].read()


def by_tags(*, have: set[str]) -> Iterator[Transcript]:
    """Give the transcripts whose every need is met."""
    for transcript in load_transcripts():
        if transcript.needs <= have:
            yield transcript
