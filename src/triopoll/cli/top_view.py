"""An overview of the admin API as lines of text; nothing in them moves a cursor."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from trioslock.cli import Table, safe

__all__ = ["lines_of", "spark"]

_Overview: TypeAlias = Mapping[str, Any]
_BARS = "▁▂▃▄▅▆▇█"
# Samples of a spark line: the last two minutes.
_SPARK = 24


def lines_of(overview: _Overview, url: str, rows: int, wall: float) -> Iterator[str]:
    """Return the lines.

    Args:
        overview: As `/admin/api/overview` answers it.
        url: Of the service.
        rows: Most rows of a table.
        wall: The present time in Unix seconds.
    """
    waits = overview["waits"]
    at = time.strftime("%H:%M:%S", time.localtime(wall))
    limit = overview["waits_limit"]
    yield f"{at} {safe(url)}: {waits['total']} of {limit} waits"
    yield from _backends(overview)
    yield from _table(("last minutes", "now", "highest", ""), _rates(overview["rates"]))
    yield from _counts("kind", waits["kinds"], rows)
    ages = [f"from {age} s" for age in overview["ages"]]
    yield from _counts("age", dict(zip(ages, waits["ages"], strict=False)), rows)
    yield from _counts("prefix", waits["prefixes"], rows)
    yield from _counts("key", waits["keys"], rows)
    yield from _counts("state", overview["states"]["waiting"], rows)
    median = overview["states"]["confirm_median"]
    if median is not None:
        yield f"median from scan to confirmation: {median:.1f} s"
    yield from _counts("refused", overview["refusals"], rows, "requests")


def spark(numbers: Sequence[float]) -> str:
    """Return the last numbers as bars, the highest one as a full bar."""
    highest = max(numbers, default=0)
    scale = (len(_BARS) - 1) / highest if highest else 0
    return "".join(_BARS[round(number * scale)] for number in numbers[-_SPARK:])


def _backends(overview: _Overview) -> Iterator[str]:
    slock = overview["slock"]
    state = "answers" if slock["up"] else "does not answer"
    if slock["refuses"]:
        state = "refuses new keys"
    leader = f", leader {slock['leader']}" if slock["leader"] else ""
    yield safe(f"slock {slock['address']} {state}{leader}{_since(slock)}")
    for member in slock["members"]:
        error = f" ({member['error']})" if member["error"] else ""
        yield safe(f"slock {member['address']} {member['role']}{error}")
    latency = overview["redis"]["latency"]
    for address, fault, reason, changes, changed_at in overview["redis"]["servers"]:
        took = "" if latency is None else f" in {1000 * latency:.1f} ms"
        state = f"{fault}: {reason}" if fault else f"serves{took}"
        last = f", {changes} changes, last {_clock(changed_at)}" if changes else ""
        yield safe(f"Redis {address} {state}{last}")
    for worker in overview["workers"]:
        waits = f"{worker['waits']} waits" if worker["answered"] else "does not answer"
        yield safe(f"worker {worker['name']} {waits}")


def _since(slock: Mapping[str, Any]) -> str:
    changed_at = slock["leader_changed_at"]
    return "" if changed_at is None else f" since {_clock(changed_at)}"


def _clock(unix: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(unix))


def _rates(rates: Mapping[str, Sequence[float]]) -> Iterator[Sequence[str]]:
    for name, numbers in rates.items():
        if numbers:
            unit = "" if name == "parked" else "/s"
            now, highest = f"{numbers[-1]:g}{unit}", f"{max(numbers):g}{unit}"
            yield safe(name), now, highest, spark(numbers)


def _counts(
    name: str, counts: Mapping[str, int], rows: int, what: str = "waits"
) -> Iterator[str]:
    """Return a table of names and numbers, as many as fit; none without any."""
    given = ((safe(each) or "(none)", str(n)) for each, n in counts.items())
    yield from _table((name, what), list(given)[:rows])


def _table(columns: Sequence[str], rows: Iterator[Any] | list[Any]) -> Iterator[str]:
    found = list(rows)
    if found:
        yield ""
        yield from Table(columns, found).lines()
