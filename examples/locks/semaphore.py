"""Take two permits of two, and try to take a third.

Usage: python examples/locks/semaphore.py
"""

import os

import trio

import trioslock

URL = os.environ.get("TRIOSLOCK_URL", "slock://127.0.0.1:5658")


async def main() -> None:
    async with trioslock.open_client(URL) as client:
        licences = client.semaphore("licences", 2)
        async with licences, licences:
            print(f"took two permits; free: {await licences.available()}")
            try:
                await licences.try_acquire()
            except trio.WouldBlock:
                print("a third has to wait")
        print(f"free: {await licences.available()}")


trio.run(main)
