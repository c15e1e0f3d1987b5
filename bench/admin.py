"""Measure what the admin page costs a worker with many parked waits.

    python bench/admin.py [--polls 10000] [--rounds 5] [--seconds 12]

Parks waits for messages on one ``triopoll serve``, with its own Redis server and the
embedded slock server, and measures the CPU of the worker in turns: with nobody looking
(the baseline), with the page open, with the page open at one key, for which all or one
of the waits wait, and with ``triopoll top``. What is asked, and how often, is what the
page's script and the command ask.

- *CPU*: in percent of a core, the median of the rounds.
- *lags*: how often in all rounds a sleeping task of the worker woke more than 50 ms
  late. Other programs on the machine cause such lags as well: compare the rows.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import resource
import statistics
import time
import urllib.request
from collections.abc import Sequence
from contextlib import ExitStack

from openresty import cpu_seconds
from parked import park, servers
from poll import HOST
from results import Table

KEY = "a-key-of-an-operator"
ENTRY = f"bench:{hashlib.sha256(KEY.encode()).hexdigest()}:*"
# What is asked of the admin API, and every how many seconds.
LOOKS: dict[str, tuple[Sequence[str], float]] = {
    "nobody": ((), 3.0),
    "page": (("overview",), 3.0),
    "page at a key": (("overview", "key?key=user:0"), 3.0),
    "top": (("overview",), 2.0),
}
# All wait on one key, or each on a key of its own.
TARGETS = {
    "one key": "/v1/messages?key=user:0&cursor=new&timeout=300",
    "own keys": "/v1/messages?key=user:{}&cursor=new&timeout=300",
}
_LAGS = re.compile(r'triopoll_loop_lag_seconds_bucket\{le="([^"]+)",worker="0"\} (\S+)')


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--polls", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=12)
    options = parser.parse_args()
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    table = Table(["waits", "who looks", "CPU", "lags"])
    for name, target in TARGETS.items():
        for row in measure(target, options):
            table.add([f"{options.polls}, {name}", *row])


def measure(target: str, options: argparse.Namespace) -> list[Sequence[str]]:
    """Return the rows of one way to wait."""
    shares: dict[str, list[float]] = {look: [] for look in LOOKS}
    lags = dict.fromkeys(LOOKS, 0.0)
    with ExitStack() as stack:
        running = stack.enter_context(servers(None, TRIOPOLL_ADMIN_KEYS=ENTRY))
        park(stack, running.port, target, options.polls)
        for _ in range(options.rounds):
            for look in LOOKS:
                late = late_wakes(running.port)
                share = cpu_share(running.service, look, running.port, options.seconds)
                shares[look].append(share)
                lags[look] += late_wakes(running.port) - late
    return [
        (look, f"{100 * statistics.median(shares[look]):.1f} %", f"{lags[look]:.0f}")
        for look in LOOKS
    ]


def cpu_share(pid: int, look: str, port: int, seconds: float) -> float:
    """Return the part of a core that the worker uses while somebody looks."""
    paths, period = LOOKS[look]
    began, used = time.monotonic(), cpu_seconds(pid)
    while time.monotonic() < began + seconds:
        asked = time.monotonic()
        for path in paths:
            get(port, f"/admin/api/{path}")
        time.sleep(max(0.0, asked + period - time.monotonic()))
    return (cpu_seconds(pid) - used) / (time.monotonic() - began)


def late_wakes(port: int) -> float:
    """Return how often a task woke more than 50 ms late, since the start."""
    counts = dict(_LAGS.findall(get(port, "/metrics").decode()))
    return float(counts["+Inf"]) - float(counts["0.05"])


def get(port: int, path: str) -> bytes:
    headers = {"Authorization": f"Bearer {KEY}"}
    asked = urllib.request.Request(f"http://{HOST}:{port}{path}", headers=headers)
    with urllib.request.urlopen(asked, timeout=30) as response:
        body: bytes = response.read()
    return body


if __name__ == "__main__":
    main()
