"""Requests to the pages of an application in this process."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from quart import Blueprint
from tests.services import find_free_port
from tests.triopoll.asgi_calls import Call, serving

from triopoll.app import Triopoll
from triopoll.settings import Settings

Headers = Sequence[tuple[bytes, bytes]]
JSON = (b"content-type", b"application/json")


@asynccontextmanager
async def pages(routes: Blueprint | None = None, **settings: Any) -> AsyncIterator[Any]:
    """The application, started; with routes of its user."""
    address = f"embedded://127.0.0.1:{find_free_port()}"
    app = Triopoll(Settings(slock_url=address, **settings))
    if routes is not None:
        app.register_blueprint(routes)
    async with serving(app):
        yield app


async def get(app: Triopoll, path: str, headers: Headers = (), **options: Any) -> Call:
    call = Call(path, headers=headers, **options)
    await call.run(app)
    return call


async def post(
    app: Triopoll, path: str, body: object, headers: Headers = (JSON,)
) -> tuple[int, Any]:
    """Send JSON; return the status and the JSON of the answer."""
    call = await get(app, path, headers, method="POST", body=json.dumps(body).encode())
    return call.status, json.loads(call.body)
