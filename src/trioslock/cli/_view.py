"""A snapshot as lines and tables of text, and as JSON."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from math import isinf

from ..primitives import DatabaseState, Holder, Waiter
from ._output import Record, address_text, age, key_text, safe
from ._snapshot import KeyState, Snapshot

__all__ = ["Table", "View", "record", "view"]

_RATES = ("grants", "releases", "timed_out", "expired")


@dataclass(frozen=True, slots=True)
class Table:
    """A table of text; each row has as many cells as there are columns."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    def lines(self) -> Iterator[str]:
        """Return it with padded columns."""
        everything = [self.columns, *self.rows]
        widths = [max(map(len, column)) for column in zip(*everything, strict=True)]
        for row in everything:
            cells = zip(row, widths, strict=True)
            yield "  ".join(cell.ljust(width) for cell, width in cells).rstrip()


@dataclass(frozen=True, slots=True)
class View:
    """Lines, and tables below them. Nothing in it moves a cursor."""

    lines: Sequence[str]
    tables: Sequence[Table] = field(default=())

    def text(self) -> Iterator[str]:
        """Return it as plain lines."""
        yield from self.lines
        for table in self.tables:
            yield from table.lines()


def view(
    url: str, now: Snapshot, before: Snapshot | None, rows: int, key: str | None
) -> View:
    """Return what is shown of a snapshot.

    Args:
        url: The server's.
        now: The snapshot.
        before: The one before, for the rates.
        rows: Most rows of the table of keys, or of that of holders and waiters.
        key: The only key that is wanted; None for all.
    """
    at = time.strftime("%H:%M:%S", time.localtime(now.wall))
    lines = [f"{at} {safe(url)}: {_summary(now)}", *_members(now)]
    if now.error is not None:
        return View(lines)
    rest = Table(*_databases(now, before)), Table(*_keys(now))
    if key is not None:
        rest = Table(*_databases(now, before)), Table(*_one_key(now, rows))
    return View(lines, [table for table in rest if table.rows])


def _summary(now: Snapshot) -> str:
    if now.error is not None:
        return safe(now.error)
    waiting = sum(one.waiting for one in now.databases.values())
    text = f"{sum(one.held for one in now.databases.values())} held, {waiting} waiting"
    if now.skipped:
        text += f"; waiters of {now.skipped} of {now.held_keys} keys not counted"
    if now.unlisted:
        text += f"; too many keys to list in {', '.join(map(str, now.unlisted))}"
    return text


def _members(now: Snapshot) -> Iterator[str]:
    for member in now.members:
        reason = f" ({safe(member.error)})" if member.error else ""
        yield f"{safe(address_text(member.address))} {member.role.value}{reason}"


def _databases(
    now: Snapshot, before: Snapshot | None
) -> tuple[Sequence[str], list[Sequence[str]]]:
    columns = ("db", "keys", "held", "waiting", "grants/s", "releases/s", "expired/s")
    rows: list[Sequence[str]] = []
    for number, one in now.databases.items():
        rates = _rates(now, before, number)
        shown = [_figure(rates[name]) for name in ("grants", "releases", "expired")]
        counts = map(str, (number, one.keys, one.held, one.waiting))
        rows.append((*counts, *shown))
    return columns, rows


def _keys(now: Snapshot) -> tuple[Sequence[str], list[Sequence[str]]]:
    columns = ("db", "key", "holders", "waiters", "held for", "waiting for")
    rows: list[Sequence[str]] = [
        (
            str(each.db),
            key_text(each.key),
            str(len(each.holders)),
            str(len(each.waiters)),
            _longest(each.holders, now.wall),
            _longest(each.waiters, now.wall),
        )
        for each in now.keys
    ]
    return columns, rows


def _one_key(now: Snapshot, rows: int) -> tuple[Sequence[str], list[Sequence[str]]]:
    claims = [
        (name, claim)
        for each in now.keys
        for name, some in (("holds", each.holders), ("waits", each.waiters))
        for claim in some
    ]
    shown: list[Sequence[str]] = [
        (
            name,
            claim.lock_id.hex(),
            str(claim.levels) if isinstance(claim, Holder) else "-",
            age(None if claim.since is None else now.wall - claim.since),
            age(None if claim.until is None else claim.until - now.wall),
        )
        for name, claim in claims[:rows]
    ]
    if len(claims) > rows:
        shown.append((f"{len(claims) - rows} more", "", "", "", ""))
    return ("", "lock id", "levels", "for", "ends in"), shown


def _longest(claims: Sequence[Holder | Waiter], wall: float) -> str:
    since = _first(claims)
    return age(None if since is None else wall - since)


def _first(claims: Sequence[Holder | Waiter]) -> float | None:
    return min((c.since for c in claims if c.since is not None), default=None)


def _rates(
    now: Snapshot, before: Snapshot | None, number: int
) -> dict[str, float | None]:
    """Return how often a second, since the snapshot before; None if not known."""
    earlier = None if before is None else before.databases.get(number)
    if before is None or earlier is None or now.at <= before.at:
        return dict.fromkeys(_RATES)
    seconds, later = now.at - before.at, now.databases[number]
    return {name: _rate(later, earlier, name, seconds) for name in _RATES}


def _rate(
    later: DatabaseState, earlier: DatabaseState, name: str, seconds: float
) -> float | None:
    more: int = getattr(later, name) - getattr(earlier, name)
    # It counts from 0 again when the server has started again.
    return more / seconds if more >= 0 else None


def _figure(rate: float | None) -> str:
    return "-" if rate is None else f"{rate:.1f}"


def record(
    now: Snapshot, before: Snapshot | None, rows: int, key: str | None
) -> Record:
    """Return a snapshot as an object of JSON; its times are in Unix seconds.

    Args:
        now: The snapshot.
        before: The one before, for the rates.
        rows: Most holders, and most waiters, of the one key.
        key: The only key that is wanted; None for all.
    """
    keys = [_key_record(each, rows if key is not None else 0) for each in now.keys]
    return {
        "time": now.wall,
        "error": now.error,
        "leader": None if now.leader is None else address_text(now.leader),
        "members": [
            {
                "address": address_text(member.address),
                "role": member.role.value,
                "error": member.error,
            }
            for member in now.members
        ],
        "databases": {
            str(number): {**asdict(one), "per_second": _rates(now, before, number)}
            for number, one in now.databases.items()
        },
        "held_keys": now.held_keys,
        "uncounted_keys": now.skipped,
        "unlisted_databases": list(now.unlisted),
        "keys": keys,
    }


def _key_record(each: KeyState, claims: int) -> Record:
    counts: dict[str, object] = {
        "db": each.db,
        "key": key_text(each.key),
        "levels": each.levels,
        "holders": len(each.holders),
        "waiters": len(each.waiters),
        "held_since": _first(each.holders),
        "waiting_since": _first(each.waiters),
    }
    if claims:
        counts["held_by"] = [_claim(claim) for claim in each.holders[:claims]]
        counts["waited_for_by"] = [_claim(claim) for claim in each.waiters[:claims]]
    return counts


def _claim(claim: Holder | Waiter) -> Record:
    until = claim.until
    return {
        "lock_id": claim.lock_id.hex(),
        "since": claim.since,
        "until": None if until is None or isinf(until) else until,
    }
