"""Do the jobs of the demo, and report how far they are.

    python job_worker.py http://127.0.0.1:8000 slock://127.0.0.1:5658

Jobs come as messages, progress goes to the state that the page waits for, and a lock on
slock lets one of several workers do a job. If that worker dies, its lease ends and
another one goes on.
"""

import json
import sys
import urllib.error
import urllib.request

import trio

import trioslock
from triopoll.client import open_poll_client

JOBS = "triopoll-demo:jobs"


def put_state(url: str, key: str, **change: object) -> bool:
    """Change the state of a job; False if it has ended."""
    request = urllib.request.Request(
        f"{url}/v1/states/{key}",
        json.dumps(change).encode(),
        {"Content-Type": "application/json"},
        method="PUT",
    )
    try:
        with urllib.request.urlopen(request, timeout=10):
            return True
    except urllib.error.HTTPError as error:
        if error.code in (404, 409):
            return False
        raise


async def report(url: str, key: str, state: str, percent: int) -> bool:
    def put() -> bool:
        final = state == "done"
        return put_state(url, key, state=state, data={"percent": percent}, final=final)

    return await trio.to_thread.run_sync(put)


async def work(client: trioslock.Client, url: str, key: str) -> None:
    async with client.lock(f"job {key}"):
        for percent in range(0, 100, 10):
            if not await report(url, key, "running", percent):
                return
            await trio.sleep(0.2)  # the work
        await report(url, key, "done", 100)
        print(f"job {key} is done", flush=True)


async def main(
    url: str = "http://127.0.0.1:8000", slock: str = "slock://127.0.0.1:5658"
) -> None:
    async with (
        trioslock.open_client(slock) as client,
        open_poll_client(url) as push,
        push.subscribe(JOBS, cursor="all") as jobs,
        trio.open_nursery() as nursery,
    ):
        print("waiting for jobs", flush=True)
        async for message in jobs:
            nursery.start_soon(work, client, url, message.value["key"])


if __name__ == "__main__":
    trio.run(main, *sys.argv[1:3])
