"""Compare a poll that presence counts with one that it does not; price a report.

Run: ``python bench/presence.py --redis redis://HOST:PORT [--keys N]``. It writes below
keys of its own, and removes what it has reported. Baselines: the access check of the
same poll with presence off; as many messages published in the log, in equal batches.
CPU time of this process, so that other processes of the machine count less.
"""

from __future__ import annotations

import argparse
import time
import timeit
from collections.abc import Awaitable, Callable, Sequence
from statistics import median
from types import SimpleNamespace
from typing import Any

import trio

from triopoll.access import AccessControl, Permit
from triopoll.api.refusals import format_v1
from triopoll.asgi.messages import Request
from triopoll.core.presence import Presence
from triopoll.settings import Settings
from triopoll.store import NewMessage, Waiting, open_stores

_BATCH = 256
_ROUNDS = 5
_NOTHING: Any = SimpleNamespace()


def _poll(access: AccessControl) -> None:
    headers = [(b"host", b"localhost")]
    request = Request("GET", "/v1/messages", b"key=k", headers, "127.0.0.1", b"")
    permit = access.admit_subscriber(request, ["k"], format_v1)
    assert isinstance(permit, Permit)
    permit.begin(lambda: None)
    permit.finish()


def _compare_polls() -> None:
    off, on = AccessControl(), AccessControl()
    presence = Presence(_NOTHING, _NOTHING, _NOTHING, Settings(), lambda key: True)
    on.attend = presence.attend
    costs: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(_ROUNDS):
        for is_on, access in ((False, off), (True, on)):
            timer = timeit.Timer(lambda it=access: _poll(it), timer=time.process_time)
            costs[is_on].append(timer.timeit(20_000) / 20_000 * 1e6)
    floor, cost = median(costs[False]), median(costs[True])
    print(f"check and end of a poll, off     {floor:7.1f} us")
    print(f"with presence                    {cost:7.1f} us, {cost / floor:.2f}")


async def _price(
    work: Callable[[Sequence[str]], Awaitable[object]], keys: Sequence[str]
) -> float:
    """Return the microseconds of CPU of a key."""
    since = time.process_time()
    for start in range(0, len(keys), _BATCH):
        await work(keys[start : start + _BATCH])
    return (time.process_time() - since) / len(keys) * 1e6


async def _compare_reports(url: str, count: int) -> None:
    keys = [f"bench-presence-{n}" for n in range(count)]
    async with open_stores(url, limit=30, redis_prefix="bench-presence:") as stores:

        async def report(some: Sequence[str]) -> None:
            here = Waiting(("ada", "bob"), 1)
            await stores.presence.report(dict.fromkeys(some, here))

        async def publish(some: Sequence[str]) -> None:
            messages = [NewMessage(key, b"x" * 20, ttl=1) for key in some]
            await stores.log.append(messages)

        costs = [
            (await _price(report, keys), await _price(publish, keys))
            for _ in range(_ROUNDS)
        ]
        cost, floor = (median(column) for column in zip(*costs, strict=True))
        await stores.presence.report(dict.fromkeys(keys, Waiting()))
    print(f"publishing a message             {floor:7.1f} us")
    print(f"reporting a key                  {cost:7.1f} us, {cost / floor:.2f}")


def main() -> None:
    """Print microseconds, and the ratio to the baseline."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--redis", required=True)
    parser.add_argument("--keys", type=int, default=10_000)
    arguments = parser.parse_args()

    async def measure() -> None:
        # The table asks trio for the time.
        _compare_polls()
        await _compare_reports(arguments.redis, arguments.keys)

    trio.run(measure)


if __name__ == "__main__":
    main()
