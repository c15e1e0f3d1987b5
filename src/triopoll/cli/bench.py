"""``triopoll bench``: how fast a service wakes waits, and how many messages it takes.

The client that measures is written in Python and takes part of each figure. The
programs in ``bench/`` measure a service against a baseline, with processes of their
own; this one asks a deployment as its users do.
"""

from __future__ import annotations

import argparse
import secrets
import statistics
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass

import trio

from triopoll.client import Gap, Message, PollClient, Subscription
from triopoll.server.descriptors import allow_descriptors
from trioslock.cli import (
    DEFAULT,
    UNREACHABLE,
    Commands,
    fail,
    seconds,
    show,
    show_json,
    whole_number,
)

from .client_options import add_client_command, client_of

__all__ = ["add_bench"]

_EXAMPLES = """\
examples:
  triopoll bench http://127.0.0.1:8000
  triopoll bench --waits 500 --rounds 10 --json https://push.example.com

The API key and the ticket must allow the keys that begin with --prefix.
"""
# Connections that publish at once, and the keys that they publish to.
_PUBLISHERS = 10
_KEYS = 100
# Seconds until all waits are parked: of all, and of each.
_SETTLE = 0.3
_SETTLE_EACH = 0.002

_Messages = Subscription[Message | Gap]


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured; times are in seconds.

    Attributes:
        waits: How many were parked at once.
        samples: How many single waits were woken.
        wake_median: From the beginning of a publish until its one reader has it.
        wake_99: Less than that for 99 of 100.
        wake_most: The longest.
        fan_out_median: Until all readers of one key have a message.
        published: Messages that were published at once by several connections.
        published_per_second: How many of them in a second.
    """

    waits: int
    samples: int
    wake_median: float
    wake_99: float
    wake_most: float
    fan_out_median: float
    published: int
    published_per_second: float


def add_bench(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add ``bench``."""
    parser = add_client_command(
        commands,
        "bench",
        _run,
        "api_key",
        "ticket",
        url=False,
        help="measure how fast a service wakes waits and takes messages",
        description="Park waits, publish to them, and print how long they took. "
        "Messages are really published, to keys of its own.",
        epilog=_EXAMPLES,
    )
    add = parser.add_argument
    add(
        "--waits",
        type=whole_number(1, 10_000),
        default=100,
        metavar="NUMBER",
        help="waits that are parked at once, each a connection" + DEFAULT,
    )
    add(
        "--rounds",
        type=whole_number(1, 1000),
        default=5,
        metavar="NUMBER",
        help="how often each is woken" + DEFAULT,
    )
    add(
        "--prefix",
        default="bench:",
        metavar="TEXT",
        help="what the keys begin with" + DEFAULT,
    )
    add(
        *("-w", "--timeout"),
        type=seconds,
        default=120.0,
        metavar="SECONDS",
        help="time for all of it" + DEFAULT,
    )


async def _run(options: argparse.Namespace) -> int:
    allow_descriptors(options.waits)
    with trio.move_on_after(options.timeout):
        figures = await _measure(options)
        if options.json:
            show_json(asdict(figures))
        else:
            for line in _lines(figures):
                show(line)
        return 0
    fail(f"it took longer than {options.timeout:g} s", "triopoll")
    return UNREACHABLE


async def _measure(options: argparse.Namespace) -> Figures:
    # Each run has keys of its own: a message of an earlier one would wake a wait.
    prefix = f"{options.prefix}{secrets.token_hex(6)}-"
    keys = [f"{prefix}{number}" for number in range(options.waits)]
    async with client_of(options) as client:
        single = await _wake(client, keys, options.rounds)
        together = await _wake(client, [f"{prefix}all"] * len(keys), options.rounds)
    count = options.waits * options.rounds
    lasted = await _publish(options, f"{prefix}many", count)
    times = sorted(time for round_ in single for time in round_)
    return Figures(
        waits=options.waits,
        samples=len(times),
        wake_median=statistics.median(times),
        wake_99=times[(len(times) * 99 - 1) // 100],
        wake_most=times[-1],
        fan_out_median=statistics.median(map(max, together)),
        published=count,
        published_per_second=count / lasted,
    )


class _Reader:
    """A wait that is parked again and again; `at` is when it was woken last."""

    def __init__(self, key: str, messages: _Messages) -> None:
        self.key = key
        self.messages = messages
        self.taken = trio.Event()
        self.at = 0.0

    async def take(self) -> None:
        await anext(self.messages)
        self.at = trio.current_time()
        self.taken.set()


async def _wake(
    client: PollClient, keys: Sequence[str], rounds: int
) -> list[list[float]]:
    """Wake a wait on each key; return the times of all, for each round.

    A key that stands there several times gets one message, which wakes all its waits.
    """
    async with AsyncExitStack() as stack:
        readers = await _enter(stack, client, keys)
        return [await _wake_once(client, readers) for _ in range(rounds)]


async def _enter(
    stack: AsyncExitStack, client: PollClient, keys: Sequence[str]
) -> list[_Reader]:
    """Open a subscription to each key."""
    readers: list[_Reader] = []
    for key in keys:
        messages = client.subscribe(key, gaps="items", transports=["poll"])
        readers.append(_Reader(key, await stack.enter_async_context(messages)))
    return readers


async def _wake_once(client: PollClient, readers: Sequence[_Reader]) -> list[float]:
    times: list[float] = []
    by_key: dict[str, list[_Reader]] = {}
    async with trio.open_nursery() as nursery:
        for reader in readers:
            reader.taken = trio.Event()
            by_key.setdefault(reader.key, []).append(reader)
            nursery.start_soon(reader.take)
        await trio.sleep(_SETTLE + _SETTLE_EACH * len(readers))
        for key, woken in by_key.items():
            began = trio.current_time()
            await client.publish(key, "x")
            for reader in woken:
                await reader.taken.wait()
            times += [reader.at - began for reader in woken]
    return times


async def _publish(options: argparse.Namespace, key: str, count: int) -> float:
    """Publish messages over several connections; return the seconds that they took."""
    numbers = iter(range(count))

    async def publish() -> None:
        async with client_of(options) as client:
            for number in numbers:
                await client.publish(f"{key}{number % _KEYS}", "x")

    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        for _ in range(_PUBLISHERS):
            nursery.start_soon(publish)
    return trio.current_time() - began


def _lines(figures: Figures) -> list[str]:
    def ms(seconds_: float) -> str:
        return f"{seconds_ * 1000:.1f} ms"

    return [
        (
            f"{figures.waits} waits on keys of their own, woken one by one: median "
            f"{ms(figures.wake_median)}, 99 % {ms(figures.wake_99)}, most "
            f"{ms(figures.wake_most)} ({figures.samples} samples)"
        ),
        (
            f"{figures.waits} waits on one key: all woken within "
            f"{ms(figures.fan_out_median)} (median)"
        ),
        (
            f"publishing over {_PUBLISHERS} connections: "
            f"{figures.published_per_second:.0f} messages a second"
        ),
    ]
