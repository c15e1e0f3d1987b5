"""Let five tasks want a page that is not cached; one renders it and all get it.

Usage: python examples/compute_once.py [slock://HOST:PORT]
"""

import sys

import trio

import trioslock
from trioslock import recipes

cache: dict[str, str] = {}


async def read() -> str | None:
    await trio.lowlevel.checkpoint()
    return cache.get("page")


async def render() -> str:
    print("rendering")
    await trio.sleep(0.1)
    cache["page"] = "<h1>Hello</h1>"
    return cache["page"]


async def want(client: trioslock.Client) -> None:
    print(await recipes.cache_lock(client, "page").get(read, render))


async def main(url: str = "slock://127.0.0.1:5658") -> None:
    async with (
        trioslock.open_client(url) as client,
        trio.open_nursery() as nursery,
    ):
        for _ in range(5):
            nursery.start_soon(want, client)


trio.run(main, *sys.argv[1:2])
