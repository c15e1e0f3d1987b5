"""See the request for a lock that is refused.

Usage: python examples/locks/subscribe.py
"""

import os

import trio

import trioslock

URL = os.environ.get("TRIOSLOCK_URL", "slock://127.0.0.1:5658")


async def main() -> None:
    async with trioslock.open_client(URL) as client:
        lock = client.lock("watched", flags=trioslock.Flags(publish=True))
        async with client.subscribe(trioslock.to_key("watched")) as changes, lock:
            try:
                await lock.try_acquire()
            except trio.WouldBlock:
                change = await anext(changes)
                print(f"{change.kind}; held by {change.held}")


trio.run(main)
