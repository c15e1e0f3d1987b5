"""Hold the lock "backup" with a lease of three seconds, until Ctrl-C.

Usage: python examples/locks/lease.py NAME
"""

import os
import sys

import trio

import trioslock

URL = os.environ.get("TRIOSLOCK_URL", "slock://127.0.0.1:5658")


async def main(name: str) -> None:
    async with trioslock.open_client(URL) as client:
        print(f"{name} asks for the lock")
        try:
            async with client.lock("backup", lease=3):
                print(f"{name} has the lock")
                await trio.sleep_forever()
        except trioslock.LockLost as lost:
            print(f"{name} has lost the lock: {lost.reason}")


try:
    trio.run(main, sys.argv[1])
except KeyboardInterrupt:
    print(f"{sys.argv[1]} has released the lock")
