"""A client of an engine in this process: no socket, no bytes.

It is the same client with the same primitives over another link. A command is given to
the engine at once, and the engine's answers are handed to the waiting tasks in the next
scheduler pass, so that each request is a checkpoint here as it is over a network.

To share an engine with peers that connect over TCP, serve it and pass its host::

    async with open_server(port=5658) as server:
        async with open_embedded(server.host_engine) as client: ...
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from types import TracebackType
from typing import NoReturn

import trio
from trio.lowlevel import (
    Abort,
    Task,
    current_task,
    enable_ki_protection,
    reschedule,
    wait_task_rescheduled,
)

from ._arguments import check_type
from .client import Client, Service, open_session_client
from .engine import EngineLimits
from .host import EngineHost
from .link import BaseLink, ClientSession, Owner, SessionSettings
from .protocol import (
    ID_SIZE,
    Command,
    InitCommand,
    LockCommand,
    Result,
    encode_command,
)

__all__ = ["open_embedded"]


class EngineLink(BaseLink):
    """A request table over a peer of an engine's host.

    Args:
        host: A host that runs.
        owner: The session that the link works for.
        client_id: The 16 bytes under which the engine knows the client.
    """

    def __init__(self, host: EngineHost, owner: Owner, client_id: bytes) -> None:
        super().__init__(owner)
        self._arrived: deque[Result] = deque()
        # The task of `run` while it waits for results.
        self._runner: Task | None = None
        self._scope = trio.CancelScope()
        self._peer = host.attach(self._take, self._scope.cancel)
        self.post(InitCommand(self.new_id(), client_id))

    def __repr__(self) -> str:
        return (
            f"<EngineLink: {self.in_flight} in flight, {len(self.held)} held "
            f"over {self._peer!r}>"
        )

    def post(self, command: Command) -> None:
        """Hand a command to the engine.

        Raises:
            LocalProtocolError: The protocol cannot carry it. The engine is spared what
                no connection could bring.
        """
        if type(command) is not LockCommand or command.data is not None:
            encode_command(command)
        if not self._peer.attached:
            # Closed: the entries move on when `run` returns.
            return
        self._peer.submit(command)

    def retract(self, command: Command) -> bool:
        """Return False: every command has been executed."""
        return False

    async def run(self) -> None:
        """Deliver the engine's answers, until it closes this peer.

        Cancellation:
            The peer is detached: its session leases and waits end.
        """
        try:
            with self._scope:
                while True:
                    if not self._arrived:
                        self._runner = current_task()
                        await wait_task_rescheduled(self._stop)
                    while self._arrived:
                        self.receive(self._arrived.popleft())
        finally:
            self._peer.detach()

    async def aclose(self) -> None:
        """Detach a link that does not run."""
        self._peer.detach()
        await trio.lowlevel.cancel_shielded_checkpoint()

    def _take(self, result: Result) -> None:
        # Not delivered here: an entry may still be on its way into the table, and a
        # request must be a checkpoint.
        self._arrived.append(result)
        if self._runner is not None:
            reschedule(self._runner)
            self._runner = None

    def _stop(self, _raise_cancel: Callable[[], NoReturn]) -> Abort:
        self._runner = None
        return Abort.SUCCEEDED


class _OpenEmbedded(AbstractAsyncContextManager[Client, bool]):
    """The life of a client and, around it, of its own host if it has one."""

    def __init__(
        self,
        host: EngineHost | None,
        settings: SessionSettings,
        db: int,
        engine_limits: EngineLimits | None,
    ) -> None:
        self._host = host
        self._engine_limits = engine_limits
        self._grace = settings.close_grace
        self._client = open_session_client(self._connect, settings, db=db)
        self._stack: AsyncExitStack[bool | None]

    async def _connect(self, session: ClientSession) -> EngineLink:
        assert self._host is not None
        await trio.lowlevel.checkpoint()
        return EngineLink(self._host, session, session.settings.client_id)

    @enable_ki_protection
    async def __aenter__(self) -> Client:
        async with AsyncExitStack() as stack:
            if self._host is None:
                # Made here and not in open_embedded: its clock is that of the trio run.
                self._host = EngineHost.of_this_run(limits=self._engine_limits)
                service = Service(
                    self._host.run, trio.lowlevel.checkpoint, grace=self._grace
                )
                await service.start(trio.lowlevel.checkpoint)
                stack.push_async_exit(service.stop)
            client = await stack.enter_async_context(self._client)
            self._stack = stack.pop_all()
        return client

    @enable_ki_protection
    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        return bool(await self._stack.__aexit__(exc_type, exc, traceback))


def open_embedded(
    host: EngineHost | None = None,
    *,
    client_id: bytes | None = None,
    session_ttl: float = 10.0,
    close_grace: float = 2.0,
    max_inflight: int = 16_384,
    db: int = 0,
    engine_limits: EngineLimits | None = None,
) -> AbstractAsyncContextManager[Client, bool]:
    """Open a client of an engine in this process.

    Args:
        host: A host that runs, such as a server's ``host_engine``. If left out, the
            client has an engine of its own, which ends with it.
        client_id: As for `trioslock.open_client`.
        session_ttl: As for `trioslock.open_client`.
        close_grace: As for `trioslock.open_client`.
        max_inflight: As for `trioslock.open_client`.
        db: The database of the client, 0 to 254.
        engine_limits: Bounds of its own engine.

    Returns:
        A context manager that gives the `Client`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of range.

    Cancellation:
        Nothing is left in the engine.
    """
    if host is not None:
        check_type(host, EngineHost, "host", "an EngineHost or None")
    if engine_limits is not None:
        check_type(engine_limits, EngineLimits, "engine_limits", "EngineLimits")
    settings = SessionSettings(
        client_id=secrets.token_bytes(ID_SIZE) if client_id is None else client_id,
        session_ttl=session_ttl,
        close_grace=close_grace,
        max_inflight=max_inflight,
        backoff=None,
    )
    return _OpenEmbedded(host, settings, db, engine_limits)
