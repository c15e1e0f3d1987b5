"""triopoll below a path of a FastAPI (or Starlette) application.

Run it with ``uvicorn below_fastapi:app``. FastAPI does not start what is mounted in it,
so the lifespan does (``pip install asgi-lifespan``).
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from asgi_lifespan import LifespanManager
from fastapi import FastAPI

from triopoll import app as push


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    async with LifespanManager(push, startup_timeout=30, shutdown_timeout=30):
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/hello")
async def hello() -> dict[str, str]:
    return {"hello": "this is FastAPI; triopoll is below /push"}


app.mount("/push", push)
