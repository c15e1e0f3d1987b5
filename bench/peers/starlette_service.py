"""The service of `aiohttp_service.py`, written with Starlette for uvicorn."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import defaultdict
from collections.abc import AsyncIterator

from redis.asyncio import BlockingConnectionPool, Redis
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

CHANNEL = "poll:"

_events: defaultdict[str, set[asyncio.Queue[str]]] = defaultdict(set)


async def listen(redis: Redis) -> None:
    """Give what is published to the polls of its key."""
    async with redis.pubsub() as pubsub:
        await pubsub.psubscribe(f"{CHANNEL}*")
        async for item in pubsub.listen():
            if item["type"] == "pmessage":
                key = item["channel"].decode().removeprefix(CHANNEL)
                for queue in _events.pop(key, ()):
                    queue.put_nowait(item["data"].decode())


async def message(request: Request) -> JSONResponse:
    """Answer with a message, now or as soon as there is one."""
    key = request.query_params["event"]
    stored = await request.state.redis.lpop(f"list:{key}")
    if stored is not None:
        return JSONResponse({"err_code": 0, "data": stored.decode()})
    queue: asyncio.Queue[str] = asyncio.Queue()
    _events[key].add(queue)
    try:
        seconds = float(request.query_params.get("timeout", "60"))
        async with asyncio.timeout(seconds):
            return JSONResponse({"err_code": 0, "data": await queue.get()})
    except TimeoutError:
        return JSONResponse({"err_code": 504, "data": None})
    finally:
        _events[key].discard(queue)


@contextlib.asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[dict[str, Redis]]:
    """Connect to Redis, and listen for as long as the application runs."""
    port = int(os.environ["REDIS_PORT"])
    # Polls that come at once wait for a connection; the plain pool refuses them.
    pool = BlockingConnectionPool(port=port, max_connections=32, timeout=None)
    async with Redis.from_pool(pool) as redis:
        task = asyncio.create_task(listen(redis))
        yield {"redis": redis}
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


app = Starlette(routes=[Route("/poll/message", message)], lifespan=lifespan)
