"""A client of `/v1/states` for tests, which calls the application by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.triopoll.asgi_calls import Call
from tests.triopoll.leaks import leaked, note_secrets

from triopoll.app import Triopoll


@dataclass
class Answer:
    """The status and the JSON body of a response."""

    status: int
    shape: Any
    headers: dict[bytes, bytes]
    body: bytes


class StatesApi:
    """Requests to `/v1/states`, as a program on this machine sends them.

    Attributes:
        peer: Where requests come from.
        headers: Sent with each of them.
    """

    def __init__(self, app: Triopoll) -> None:
        self.app = app
        self.peer: tuple[str, int] = ("127.0.0.1", 1)
        self.headers: list[tuple[bytes, bytes]] = []

    async def call(
        self,
        method: str,
        path: str,
        shape: object = None,
        headers: Sequence[tuple[bytes, bytes]] = (),
        *,
        body: bytes = b"",
    ) -> Answer:
        if shape is not None:
            body = json.dumps(shape).encode()
        given = [*self.headers, *headers]
        request = Call(path, method=method, body=body, headers=given)
        request.peer = self.peer
        await request.run(self.app)
        text = request.body
        note_secrets(body)
        note_secrets(text)
        if request.status >= 400:
            assert not leaked(text.decode())
        parsed = json.loads(text) if text else None
        return Answer(request.status, parsed, dict(request.headers), text)

    async def create(self, **fields: object) -> Any:
        answer = await self.call("POST", "/v1/states", fields)
        assert answer.status == 201, answer
        return answer.shape

    async def put(self, key: str, state: str, **fields: object) -> Answer:
        return await self.call("PUT", f"/v1/states/{key}", {"state": state, **fields})

    async def wait(self, created: Any, version: int = 0, seconds: float = 5) -> Answer:
        shape = {
            "key": created["key"],
            "poll_secret": created["poll_secret"],
            "version": version,
            "timeout": seconds,
        }
        return await self.call("POST", "/v1/states/wait", shape)

    async def ack(self, created: Any, version: int) -> Answer:
        shape = {
            "key": created["key"],
            "poll_secret": created["poll_secret"],
            "version": version,
        }
        return await self.call("POST", "/v1/states/ack", shape)
