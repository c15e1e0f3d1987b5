"""Write into a database that refuses a writer whose lock has passed to another one.

Usage: python examples/locks/fenced.py NAME
"""

import os
import sqlite3
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import trio

import trioslock

URL = os.environ.get("TRIOSLOCK_URL", "slock://127.0.0.1:5658")
FILE = Path(tempfile.gettempdir(), "trioslock-tutorial.db")
# One statement: between the check and the write comes no other writer.
WRITE = """INSERT INTO account SELECT :token, :writer
WHERE NOT EXISTS (SELECT * FROM account WHERE token > :token)"""


def write(writer: str, token: int) -> bool:
    """Write, unless a larger token has written; return whether it was done."""
    with closing(sqlite3.connect(FILE)) as database, database:
        database.execute("CREATE TABLE IF NOT EXISTS account (token, writer)")
        done = database.execute(WRITE, {"token": token, "writer": writer})
        return done.rowcount == 1


async def main(name: str) -> None:
    async with trioslock.open_client(URL) as client:
        print(f"{name} asks for the lock")
        try:
            async with client.lock("account", lease=3, fenced=True) as grant:
                assert grant.token is not None
                print(f"{name} has token {grant.token}; press Enter to write")
                # It blocks trio's loop, so nothing here renews the lease or sees its
                # end: as in a process that the system has stopped for a while.
                sys.stdin.readline()
                done = write(name, grant.token)
                print(f"{name} has written" if done else f"{name} is refused")
        except trioslock.LockLost as lost:
            print(f"{name} has lost the lock: {lost.reason}")


trio.run(main, sys.argv[1])
