"""aiohttp: the client lives as long as the application."""

import os
from collections.abc import AsyncIterator

from aiohttp import web

from trioslock import aio

URL = os.environ.get("TRIOSLOCK_URL", "slock://127.0.0.1:5658")
LOCKS = web.AppKey("locks", aio.Client)


async def locks(app: web.Application) -> AsyncIterator[None]:
    async with aio.open_client(URL) as client:
        app[LOCKS] = client
        yield


async def pay(request: web.Request) -> web.Response:
    number = request.match_info["number"]
    try:
        async with await request.app[LOCKS].lock(f"order-{number}").try_acquire():
            return web.json_response({"paid": number})
    except aio.WouldBlock:
        return web.json_response({"detail": "the order is being paid"}, status=409)


def make_app() -> web.Application:
    app = web.Application()
    app.cleanup_ctx.append(locks)
    app.router.add_post("/orders/{number}/pay", pay)
    return app
