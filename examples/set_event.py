"""Set an event, which wakes all clients that wait for it.

Usage: python examples/set_event.py KEY [slock://HOST:PORT]
"""

import sys

import trio

import trioslock


async def main(key: str, url: str = "slock://127.0.0.1:5658") -> None:
    with trio.fail_after(5):
        async with trioslock.open_client(url) as client:
            await client.event(key, ttl=120).set()
    print(f"{key} is set")


trio.run(main, *sys.argv[1:3])
