"""Let three tasks lead in turn while a follower watches; processes would do the same.

Usage: python examples/elect_a_leader.py [slock://HOST:PORT]
"""

import sys

import trio

import trioslock
from trioslock import recipes


async def candidate(client: trioslock.Client, name: str) -> None:
    async with recipes.leader(client, "scheduler", name=name) as term:
        print(f"{name} leads, token {term.token}")
        await trio.sleep(0.05)


async def follow(client: trioslock.Client) -> None:
    async for leader in recipes.Election(client, "scheduler").changes():
        print(
            "there is no leader" if leader is None else f"the leader is {leader.name}"
        )


async def main(url: str = "slock://127.0.0.1:5658") -> None:
    async with (
        trioslock.open_client(url) as client,
        trio.open_nursery() as followers,
    ):
        followers.start_soon(follow, client)
        async with trio.open_nursery() as candidates:
            for name in ("a", "b", "c"):
                candidates.start_soon(candidate, client, name)
        followers.cancel_scope.cancel()


trio.run(main, *sys.argv[1:2])
