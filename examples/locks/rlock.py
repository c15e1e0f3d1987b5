"""Take a lock again in a function that its holder calls.

Usage: python examples/locks/rlock.py
"""

import os

import trio

import trioslock

URL = os.environ.get("TRIOSLOCK_URL", "slock://127.0.0.1:5658")


async def save(document: trioslock.RLock) -> None:
    async with document:
        print(f"save() has level {document.levels()}")


async def main() -> None:
    async with trioslock.open_client(URL) as client:
        document = client.rlock("document")
        async with document:
            print(f"main() has level {document.levels()}")
            await save(document)
        print(f"levels: {document.levels()}")


trio.run(main)
