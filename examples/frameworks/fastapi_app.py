"""FastAPI: one client for the application, one lock for each order."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, HTTPException, Request

from trioslock import aio

URL = os.environ.get("TRIOSLOCK_URL", "slock://127.0.0.1:5658")


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with aio.open_client(URL) as client:
        app.state.locks = client
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/orders/{number}/pay")
async def pay(number: int, request: Request) -> dict[str, str]:
    client: aio.Client = request.app.state.locks
    try:
        async with asyncio.timeout(2):
            grant = await client.lock(f"order-{number}").acquire()
    except TimeoutError:
        raise HTTPException(409, "the order is being paid") from None
    async with grant:
        return {"paid": str(number)}
