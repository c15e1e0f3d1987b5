"""Hold the side of readers, or that of writers, until Ctrl-C.

Usage: python examples/locks/rwlock.py read|write
"""

import os
import sys

import trio

import trioslock

URL = os.environ.get("TRIOSLOCK_URL", "slock://127.0.0.1:5658")


async def main(side: str) -> None:
    async with trioslock.open_client(URL) as client:
        catalogue = client.rwlock("catalogue")
        async with catalogue.read() if side == "read" else catalogue.write():
            print(f"may {side}")
            if side == "read":
                async with client.rwlock("catalogue").read():
                    print("a second reader may read as well")
            await trio.sleep_forever()


try:
    trio.run(main, sys.argv[1])
except KeyboardInterrupt:
    print("released")
