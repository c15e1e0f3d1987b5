"""Wait for an event, or set it.

Usage: python examples/locks/event.py wait
       python examples/locks/event.py set TEXT
"""

import os
import sys

import trio

import trioslock

URL = os.environ.get("TRIOSLOCK_URL", "slock://127.0.0.1:5658")


async def main(action: str, text: str = "") -> None:
    async with trioslock.open_client(URL) as client:
        deployed = client.event("deployed", ttl=60)
        if action == "set":
            await deployed.set(text)
            print("set")
        else:
            print("waits")
            data = await deployed.wait_and_reset()
            print(f"woken by {data.text if data else 'an event without a value'}")


trio.run(main, *sys.argv[1:])
