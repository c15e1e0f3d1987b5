"""Wake a group of which no member waits at that moment.

Usage: python examples/locks/group_event.py
"""

import os

import trio

import trioslock

URL = os.environ.get("TRIOSLOCK_URL", "slock://127.0.0.1:5658")


async def main() -> None:
    async with trioslock.open_client(URL) as client:
        prices = client.group_event("prices", ttl=60)
        await prices.clear()
        member = client.group_event("prices", version=prices.version, ttl=60)
        await prices.wakeup("from 9 to 8")
        # Too late for the wake-up, and nothing is missed: the version has changed.
        news = await member.wait()
        print(f"prices: {news.text if news else 'no value'}")
        with trio.move_on_after(0.5) as scope:
            await member.wait()
        print(f"nothing new: {scope.cancelled_caught}")
        await prices.set()


trio.run(main)
