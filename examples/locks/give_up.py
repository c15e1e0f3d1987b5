"""Look whether the lock "report" is free; wait for it for a second, then give up.

Usage: python examples/locks/give_up.py
"""

import os

import trio

import trioslock

URL = os.environ.get("TRIOSLOCK_URL", "slock://127.0.0.1:5658")


async def main() -> None:
    async with trioslock.open_client(URL) as client:
        lock = client.lock("report")
        try:
            grant = await lock.try_acquire()
        except trio.WouldBlock:
            print("the lock is taken")
        else:
            await grant.release()
        with trio.move_on_after(1) as scope:
            async with lock:
                print("I have the lock")
        if scope.cancelled_caught:
            print(f"gave up; waiting now: {len(await client.waiters('report'))}")


trio.run(main)
