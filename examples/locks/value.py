"""Keep a number and a map on the server.

Usage: python examples/locks/value.py
"""

import os

import trio

import trioslock

URL = os.environ.get("TRIOSLOCK_URL", "slock://127.0.0.1:5658")


async def main() -> None:
    async with trioslock.open_client(URL) as client:
        visits = client.value("visits", ttl=60)
        await visits.unset()
        await visits.increment()
        print(f"visits: {await visits.increment(by=9)}")

        settings = client.value("settings", ttl=60)
        await settings.set({"colour": "green"})
        data = await settings.get()
        print(f"settings: {data.map if data else 'none'}")


trio.run(main)
