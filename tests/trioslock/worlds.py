"""A client under test, another one, and what is behind them: is anything left?"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import trio
from tests.trioslock.backends import (
    NOTHING,
    PATIENCE,
    Backend,
    EmbeddedBackend,
    MemoryBackend,
    OurBackend,
    open_backend,
    until,
)
from trio.testing import memory_stream_pair, wait_all_tasks_blocked

from trioslock import Client, to_key
from trioslock.client import open_session_client
from trioslock.link import Backoff, SessionSettings, connector
from trioslock.primitives._fencing import fence_key
from trioslock.server import Server
from trioslock.transport import READ_SIZE, StreamTransport

ONE_WAY = 0.1
"""Virtual seconds that bytes take over a slow wire."""

BOUND = 20.0
"""Virtual seconds within which nothing may be left."""


class SlowWire:
    """Connections to a server on which everything takes a while."""

    def __init__(self, server: Server, nursery: trio.Nursery) -> None:
        self._server = server
        self._nursery = nursery
        self._ends: list[Any] = []

    async def open_transport(self) -> StreamTransport:
        await trio.lowlevel.checkpoint()
        ours, near = memory_stream_pair()
        far, theirs = memory_stream_pair()
        self._ends += [near, far]
        self._nursery.start_soon(self._server.serve_stream, theirs)
        self._nursery.start_soon(self._carry, near, far)
        self._nursery.start_soon(self._carry, far, near)
        return StreamTransport(ours)

    def cut(self) -> None:
        for end in self._ends:
            _close(end)
        self._ends.clear()

    async def _carry(self, source: Any, target: Any) -> None:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            while data := bytes(await source.receive_some(READ_SIZE)):
                await trio.sleep(ONE_WAY)
                await target.send_all(data)
        _close(source)
        _close(target)


def _close(stream: Any) -> None:
    stream.send_stream.close()
    stream.receive_stream.close()


@dataclass
class World:
    """The client under test, another one, and what is behind them.

    Attributes:
        left: Holders that operations are meant to leave: fencing counters.
        fences: Keys of counters of programs, which may have been made or not.
    """

    client: Client
    other: Client
    backend: Backend
    open_another: Callable[[], AbstractAsyncContextManager[Client, bool | None]]
    cut: Callable[[], None]
    left: int = 0
    fences: set[bytes] = field(default_factory=set)

    def client_state(self) -> dict[str, int]:
        mine = self.client.statistics()
        return {
            "in flight": mine.in_flight,
            "unsettled": mine.unsettled,
            "held": mine.held,
            "waiting to send": mine.tasks_waiting_to_send,
        }

    def state(self) -> dict[str, int]:
        assert isinstance(self.backend, OurBackend)
        engine = self.backend.server.host_engine.engine.statistics()
        return {
            "holders": engine.holders - self.left,
            "waiters": engine.waiters,
            **self.client_state(),
        }

    async def until_idle(self, tasks: int) -> None:
        """Wait until nothing is left, here or there, or fail."""
        ends_at = trio.current_time() + BOUND
        while any(self.state().values()) or tasks_living() != tasks:
            if trio.current_time() > ends_at:
                extra = tasks_living() - tasks
                raise AssertionError(f"left behind: {self.state()}, {extra} tasks")
            await trio.sleep(0.25)

    async def assert_idle(self, *keys: str, within: float = 0.0) -> None:
        """Check that nothing is left: at once where all runs in this process.

        Args:
            keys: The keys that were used.
            within: Seconds that it may take where the connection was broken.
        """
        in_process = isinstance(self.backend, EmbeddedBackend | MemoryBackend)
        with trio.CancelScope(shield=True):
            if in_process and not within:
                # What is on its way arrives before the answer to this.
                await self.client.ping()
                await wait_all_tasks_blocked()
            else:
                await self._become_idle(keys, within or PATIENCE)
            assert not any(self.client_state().values()), self.client_state()
            if isinstance(self.backend, OurBackend):
                self.fences.update(fence_key(to_key(key)) for key in keys)
                counters = [await self.backend.claims(key) for key in self.fences]
                self.left = sum(counter.holders for counter in counters)
                assert not any(self.state().values()), self.state()

    async def _become_idle(self, keys: tuple[str, ...], within: float) -> None:
        for key in keys:
            await self.backend.until(key, *NOTHING, within=within)
        await until(lambda: not any(self.client_state().values()))


def tasks_living() -> int:
    return trio.lowlevel.current_statistics().tasks_living


def world_of(backend: Backend, client: Client, other: Client) -> World:
    """Return the world of two clients of one server."""
    cut = getattr(backend, "cut_latest", lambda: None)
    return World(client, other, backend, backend.open_client, cut)


@asynccontextmanager
async def open_world(kind: str = "wire") -> AsyncIterator[World]:
    """Open two clients; ``"wire"`` is a backend with a slow connection."""
    name = "memory" if kind == "wire" else kind
    async with open_backend(name) as backend, backend.open_client() as other:
        if kind != "wire":
            async with backend.open_client() as client:
                yield world_of(backend, client, other)
            return
        assert isinstance(backend, OurBackend)
        async with trio.open_nursery() as nursery:
            wire = SlowWire(backend.server, nursery)
            connect = connector(wire.open_transport, heartbeat=5)

            def open_slow() -> AbstractAsyncContextManager[Client, bool]:
                settings = SessionSettings(
                    client_id=secrets.token_bytes(16),
                    session_ttl=3,
                    backoff=Backoff(first=0.01),
                    close_grace=1,
                )
                return open_session_client(connect, settings)

            async with open_slow() as client:
                yield World(client, other, backend, open_slow, wire.cut)
            nursery.cancel_scope.cancel()
