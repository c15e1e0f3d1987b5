"""A server in memory that a test scripts, for clocks that jump."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import h11
import trio
import trio.testing

from triopoll.client import PollClient
from triopoll.client._credentials import Credential, Secret
from triopoll.client._http import Site

EPOCH = "0badcafe"


class Hangup(Exception):
    """The script ends the connection."""


class Asked:
    """A request that the client has sent, and the ways to answer it."""

    def __init__(self, site: ScriptedSite, http: h11.Connection, stream: Any) -> None:
        self.time = trio.current_time()
        self.path = ""
        self.query: dict[str, str] = {}
        self.headers: dict[str, str] = {}
        self.body = b""
        self._site = site
        self._http = http
        self._stream = stream

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    async def answer(
        self, shape: Any = None, status: int = 200, *, raw: bytes = b"", **headers: str
    ) -> None:
        body = raw or json.dumps(shape).encode()
        fields = [(name.replace("_", "-"), value) for name, value in headers.items()]
        fields.append(("content-length", str(len(body))))
        await self._stream.send_all(
            (self._http.send(h11.Response(status_code=status, headers=fields)) or b"")
            + (self._http.send(h11.Data(data=body)) or b"")
            + (self._http.send(h11.EndOfMessage()) or b"")
        )

    async def send(self, data: bytes) -> None:
        """Send bytes, which need not be a valid answer."""
        await self._stream.send_all(data)

    def hang_up(self) -> None:
        raise Hangup


Script = Callable[[Asked], Awaitable[None]]


@dataclass(frozen=True)
class ScriptedSite(Site):
    """A server that runs a script for each connection; while down, it refuses them."""

    host: str = "scripted"
    port: int = 80
    state: dict[str, Any] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)

    async def open_stream(self) -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        self.state["connections"] = self.state.get("connections", 0) + 1
        if self.state.get("down"):
            raise OSError("refused")
        ours, theirs = trio.testing.lockstep_stream_pair()
        self.state["nursery"].start_soon(self._serve, theirs)
        return ours

    async def _serve(self, stream: Any) -> None:
        http = h11.Connection(h11.SERVER)
        try:
            while (asked := await self._next(http, stream)) is not None:
                self.asked.append(asked)
                await self.state["script"](asked)
                http.start_next_cycle()
        except (Hangup, trio.BrokenResourceError, h11.LocalProtocolError):
            pass
        finally:
            await trio.aclose_forcefully(stream)

    async def _next(self, http: h11.Connection, stream: Any) -> Asked | None:
        asked = Asked(self, http, stream)
        while True:
            event = http.next_event()
            if event is h11.NEED_DATA:
                http.receive_data(await stream.receive_some(65536))
            elif isinstance(event, h11.Request):
                path, _, query = event.target.decode().partition("?")
                asked.path, asked.query = path, dict(parse_qsl(query))
                asked.headers = {k.decode(): v.decode() for k, v in event.headers}
            elif isinstance(event, h11.Data):
                asked.body += event.data
            elif isinstance(event, h11.EndOfMessage):
                asked.time = trio.current_time()
                return asked
            else:
                return None


@asynccontextmanager
async def scripted(
    script: Script, *, ticket: Secret = None, api_key: Secret = None
) -> AsyncIterator[tuple[PollClient, ScriptedSite]]:
    """Return a client, and the site that it talks to."""
    site = ScriptedSite()
    async with trio.open_nursery() as nursery:
        site.state.update(nursery=nursery, script=script)
        client = PollClient(site, Credential(ticket), Credential(api_key))
        try:
            yield client, site
        finally:
            await client.aclose()
        nursery.cancel_scope.cancel()


def cursor_of(n: int) -> str:
    return f"{EPOCH}.{n}.abcd"


class Log:
    """The log of one key, served correctly."""

    def __init__(self, count: int = 0) -> None:
        self.count = count
        self._grown = trio.Event()

    def append(self) -> None:
        self.count += 1
        self._grown.set()
        self._grown = trio.Event()

    def after(self, cursor: str, limit: int) -> tuple[list[dict[str, Any]], str]:
        if cursor == "new":
            return [], cursor_of(self.count)
        n = 0 if cursor == "all" else int(cursor.split(".")[1])
        last = min(self.count, n + limit)
        messages = [
            {"id": cursor_of(i), "data": str(i), "ts": 1.5 * i}
            for i in range(n + 1, last + 1)
        ]
        return messages, cursor_of(last)

    async def __call__(self, asked: Asked) -> None:
        assert asked.path == "/v1/messages"
        cursor, limit = asked.query["cursor"], int(asked.query["max"])
        wait = float(asked.query["timeout"])
        with trio.move_on_after(wait):
            while not self.after(cursor, limit)[0] and cursor != "new":
                await self._grown.wait()
        messages, cursor = self.after(cursor, limit)
        shape = {"messages": messages, "cursor": cursor, "retry_ms": 0, "wait": wait}
        await asked.answer(shape if messages else {**shape, "code": "timeout"})
