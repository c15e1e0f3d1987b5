"""Follow a key of the poll service, and continue where the last run ended.

    python follow_a_key.py http://127.0.0.1:8000 orders cursor.txt 3

prints three messages of the key ``orders`` and exits; the next run continues after
them.
"""

import sys

import trio

from triopoll.client import MessagesLost, open_poll_client


async def follow(url: str, key: str, place: trio.Path, count: int) -> None:
    cursor = await place.read_text() if await place.exists() else "all"
    async with open_poll_client(url) as client:
        async with client.subscribe(key, cursor=cursor) as messages:
            while count:
                try:
                    message = await anext(messages)
                except MessagesLost as gap:
                    print(f"missed: {gap}")
                    continue
                print(message.text)
                # After the work: a program that is killed first gets it again.
                await place.write_text(messages.cursor)
                count -= 1


if __name__ == "__main__":
    url, key, place, count = sys.argv[1:]
    trio.run(follow, url, key, trio.Path(place), int(count))
