"""Send three mails in two seconds, no more; import two files at a time, no more.

Usage: python examples/locks/limits.py
"""

import os

import trio

import trioslock

URL = os.environ.get("TRIOSLOCK_URL", "slock://127.0.0.1:5658")


async def main() -> None:
    async with trioslock.open_client(URL) as client:
        mails = client.token_bucket("mails", 3, per=2)
        for number in (1, 2, 3):
            await mails.acquire()
            print(f"mail {number}")
        try:
            await mails.try_acquire()
        except trio.WouldBlock:
            print("no token is left")
        await mails.acquire()
        print("mail 4: a token has come back by itself")

        imports = client.concurrency("imports", 2)
        async with imports:
            print(f"imports under way: {await imports.in_use()}")


trio.run(main)
