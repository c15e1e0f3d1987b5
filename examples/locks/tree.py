"""Use a part of something, and see that the whole is in use.

Usage: python examples/locks/tree.py
"""

import os

import trio

import trioslock

URL = os.environ.get("TRIOSLOCK_URL", "slock://127.0.0.1:5658")


async def main() -> None:
    async with trioslock.open_client(URL) as client:
        cluster = client.tree("cluster")
        node = cluster.child("cluster/node-7")
        async with node.leaf():
            print("node 7 is in use")
            try:
                await cluster.try_acquire()
            except trio.WouldBlock:
                print("so the cluster is in use")
        await cluster.wait_free()
        print("the cluster is free")


trio.run(main)
