"""Let five tasks hold one lock, one after the other; five machines would do the same.

Usage: python examples/one_at_a_time.py [slock://HOST:PORT]
"""

import sys

import trio

import trioslock


async def work(client: trioslock.Client, number: int) -> None:
    async with client.lock("report"):
        print(f"task {number} begins")
        await trio.sleep(0.02)
        print(f"task {number} ends")


async def main(url: str = "slock://127.0.0.1:5658") -> None:
    async with (
        trioslock.open_client(url) as client,
        trio.open_nursery() as nursery,
    ):
        for number in range(5):
            nursery.start_soon(work, client, number)


trio.run(main, *sys.argv[1:2])
