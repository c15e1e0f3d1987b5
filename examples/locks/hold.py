"""Hold the lock "report" until Ctrl-C.

Usage: python examples/locks/hold.py NAME
"""

import os
import sys

import trio

import trioslock

URL = os.environ.get("TRIOSLOCK_URL", "slock://127.0.0.1:5658")


async def main(name: str) -> None:
    async with trioslock.open_client(URL, session_ttl=2) as client:
        print(f"{name} asks for the lock")
        async with client.lock("report"):
            print(f"{name} has the lock")
            await trio.sleep_forever()


try:
    trio.run(main, sys.argv[1])
except KeyboardInterrupt:
    print(f"{sys.argv[1]} has released the lock")
