"""Let five tasks ask for one time slot; one of them runs the job.

Usage: python examples/run_a_job_once.py [slock://HOST:PORT]
"""

import sys

import trio

import trioslock
from trioslock import recipes


async def run_job(client: trioslock.Client, machine: int) -> None:
    if await recipes.once_per(client, "report", 3600):
        print(f"machine {machine} runs the job of this hour")


async def main(url: str = "slock://127.0.0.1:5658") -> None:
    async with (
        trioslock.open_client(url) as client,
        trio.open_nursery() as nursery,
    ):
        for machine in range(5):
            nursery.start_soon(run_job, client, machine)


trio.run(main, *sys.argv[1:2])
