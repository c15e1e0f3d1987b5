"""A long poll on Redis as a developer would write it with aiohttp; for `peers.py`.

A publisher appends to the list of a key and publishes on a channel; a poll takes the
first message, or waits for the channel. Port and Redis come from the environment.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import defaultdict
from collections.abc import AsyncIterator

from aiohttp import web
from redis.asyncio import BlockingConnectionPool, Redis

CHANNEL = "poll:"


class Waiters:
    """The polls that wait, by key."""

    def __init__(self) -> None:
        self._futures: defaultdict[str, set[asyncio.Future[str]]] = defaultdict(set)

    async def listen(self, redis: Redis) -> None:
        """Wake the polls of each key that is published."""
        async with redis.pubsub() as pubsub:
            await pubsub.psubscribe(f"{CHANNEL}*")
            async for item in pubsub.listen():
                if item["type"] == "pmessage":
                    key = item["channel"].decode().removeprefix(CHANNEL)
                    for future in self._futures.pop(key, ()):
                        if not future.done():
                            future.set_result(item["data"].decode())

    async def wait(self, key: str, seconds: float) -> str | None:
        """Return the next message of a key; None when the time is over."""
        future = asyncio.get_running_loop().create_future()
        self._futures[key].add(future)
        try:
            async with asyncio.timeout(seconds):
                return await future
        except TimeoutError:
            return None
        finally:
            self._futures[key].discard(future)


REDIS = web.AppKey("redis", Redis)
WAITERS = web.AppKey("waiters", Waiters)


async def message(request: web.Request) -> web.Response:
    """Answer with a message, now or as soon as there is one."""
    key = request.query["event"]
    stored = await request.app[REDIS].lpop(f"list:{key}")
    if stored is not None:
        return web.json_response({"err_code": 0, "data": stored.decode()})
    seconds = float(request.query.get("timeout", "60"))
    found = await request.app[WAITERS].wait(key, seconds)
    if found is None:
        return web.json_response({"err_code": 504, "data": None})
    return web.json_response({"err_code": 0, "data": found})


async def backends(app: web.Application) -> AsyncIterator[None]:
    """Connect to Redis, and listen for as long as the application runs."""
    port = int(os.environ["REDIS_PORT"])
    # Polls that come at once wait for a connection; the plain pool refuses them.
    pool = BlockingConnectionPool(port=port, max_connections=32, timeout=None)
    app[REDIS] = Redis.from_pool(pool)
    app[WAITERS] = Waiters()
    task = asyncio.create_task(app[WAITERS].listen(app[REDIS]))
    yield
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    await app[REDIS].aclose()


if __name__ == "__main__":
    application = web.Application()
    application.router.add_get("/poll/message", message)
    application.cleanup_ctx.append(backends)
    port = int(os.environ["PORT"])
    options = {"host": "127.0.0.1", "port": port, "backlog": 4096, "print": None}
    # On asyncio's own loop, as its documentation does; uvicorn takes uvloop by itself.
    web.run_app(application, **options)
