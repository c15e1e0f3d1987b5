"""Checks of Redis: each server, each Sentinel, each node of a cluster.

Redis-py blocks, so each server is asked in a thread. A thread whose limit is over is
left to itself: the timeouts of its socket end it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import trio

from triopoll.settings import PREFIX, Settings
from triopoll.store import (
    LOWEST_VERSION,
    Host,
    RedisAddress,
    RedisReport,
    StoreError,
    inspect_cluster,
    inspect_redis,
    inspect_sentinel,
    numbers_of,
    parse_redis_url,
)

from .finding import Finding, clock_finding, right, warning, wrong

__all__ = ["check_redis", "findings_of"]

_T = TypeVar("_T")
_H = TypeVar("_H", Host, "Host | None")
# Tickets have ten seconds of leeway, and messages the time of Redis.
_CLOCK_SECONDS = 2.0
_START = "start it, or correct the address, the user or a firewall"


async def check_redis(
    settings: Settings, *, workers: int, limit: float
) -> list[Finding]:
    """Check the Redis of the settings, all its servers at once.

    Args:
        settings: Name it.
        workers: How many processes are to use it.
        limit: Seconds for each server.

    Cancellation:
        Threads that wait for a server go on until their own limit.
    """
    if settings.keeps_messages:
        return [_check_memory(workers)]
    try:
        address = parse_redis_url(settings.redis_url, limit)
    except ValueError as error:
        return [wrong("redis", f"{PREFIX}REDIS_URL: {error}", "correct the variable")]
    servers = _Servers(address, settings, limit)
    found = [] if settings.list_prefix else [_NO_PREFIX]
    if address.kind == "sentinel":
        return found + await servers.by_sentinels()
    if address.kind == "cluster":
        return found + await servers.of_cluster()
    return found + await servers.check([None])


_NO_PREFIX = warning(
    "redis lists",
    f"{PREFIX}LIST_PREFIX is empty: visitors can take messages from any list in this "
    "database",
    "set it to what the names of your lists begin with",
)


def _check_memory(workers: int) -> Finding:
    name = f"{PREFIX}REDIS_URL"
    if workers > 1:
        return wrong(
            "redis",
            f"messages are in the memory of one process, and there are {workers} "
            "workers",
            f"set {name}=redis://HOST:PORT",
        )
    return warning(
        "redis",
        "messages are in the memory of the process, and lost when it ends",
        f"set {name}=redis://HOST:PORT to keep them",
    )


class _Servers:
    """The servers of one address."""

    def __init__(self, address: RedisAddress, settings: Settings, limit: float) -> None:
        self._address = address
        self._settings = settings
        self._limit = limit

    async def check(
        self, hosts: Sequence[Host | None], *, replicas: bool = False
    ) -> list[Finding]:
        """Check some servers; None is the only one that the address names."""
        settings = self._settings
        inspect = partial(inspect_redis, self._address)
        reports = await self._ask_all(
            lambda host: inspect(host, settings.redis_prefix, settings.list_prefix),
            hosts,
        )
        return [
            finding
            for host, report in zip(hosts, reports, strict=True)
            for finding in self._findings(host, report, replicas)
        ]

    def _findings(
        self, host: Host | None, report: RedisReport | str, is_replica: bool
    ) -> list[Finding]:
        where = _name(host or next(iter(self._address.hosts), self._address.path))
        if isinstance(report, str):
            verdict = warning if is_replica else wrong
            return [verdict(f"redis {where}", report, _START)]
        return findings_of(where, report, is_replica=is_replica)

    async def by_sentinels(self) -> list[Finding]:
        """Check the Sentinels, and the servers that they name."""
        hosts = self._address.hosts
        answers = await self._ask_all(partial(inspect_sentinel, self._address), hosts)
        found: list[Finding] = []
        primaries: dict[Host, None] = {}
        replicas: dict[Host, None] = {}
        for host, answer in zip(hosts, answers, strict=True):
            check = f"sentinel {_name(host)}"
            if isinstance(answer, str):
                found.append(warning(check, answer, _START))
                continue
            primary, others = answer
            primaries[primary] = None
            replicas |= dict.fromkeys(others)
            text = f"{self._address.name} is {_name(primary)}, replicas: {len(others)}"
            found.append(right(check, text))
        if len(primaries) != 1:
            named = ", ".join(map(_name, primaries)) or "none"
            text = f"the Sentinels name not one primary, but {named}"
            found.append(wrong("redis", text, "see the logs of the Sentinels"))
        found += await self.check([*primaries])
        return found + await self.check(
            [host for host in replicas if host not in primaries], replicas=True
        )

    async def of_cluster(self) -> list[Finding]:
        """Check the nodes of the address, and those that they name."""
        hosts = self._address.hosts
        answers = await self._ask_all(partial(inspect_cluster, self._address), hosts)
        found = [
            warning(f"redis {_name(host)}", answer, _START)
            for host, answer in zip(hosts, answers, strict=True)
            if isinstance(answer, str)
        ]
        owners = next((each for each in answers if not isinstance(each, str)), None)
        if owners is None:
            text = "no node of the cluster has answered"
            return [*found, wrong("redis cluster", text, _START)]
        found.append(_check_slots(owners.unowned, len(owners.primaries)))
        found += await self.check(owners.primaries)
        return found + await self.check(owners.replicas, replicas=True)

    async def _ask_all(
        self, ask: Callable[[_H], _T], hosts: Sequence[_H]
    ) -> list[_T | str]:
        """Return what each server says, or why it says nothing."""
        found: dict[int, _T | str] = {}

        async def one(place: int, host: _H) -> None:
            found[place] = await self._ask(partial(ask, host))

        async with trio.open_nursery() as nursery:
            for place, host in enumerate(hosts):
                nursery.start_soon(one, place, host)
        return [found[place] for place in range(len(hosts))]

    async def _ask(self, ask: Callable[[], _T]) -> _T | str:
        with trio.move_on_after(self._limit):
            try:
                return await trio.to_thread.run_sync(ask, abandon_on_cancel=True)
            except StoreError as error:
                return str(error)
        return f"no answer within {self._limit:g} s"


def _check_slots(unowned: int, primaries: int) -> Finding:
    if unowned:
        text = f"no node has {unowned} of the 16384 slots"
        return wrong("redis cluster", text, "redis-cli --cluster fix HOST:PORT")
    return right("redis cluster", f"{primaries} primaries have all slots")


def findings_of(where: str, report: RedisReport, *, is_replica: bool) -> list[Finding]:
    """Return what a report of one server means.

    Args:
        where: Its address.
        report: Of the server.
        is_replica: Whether it should be a replica.
    """
    found = [_version(where, report, is_replica=is_replica), _policy(where, report)]
    if not is_replica:
        if report.refusal and not report.missing:
            text = f"it {report.refusal}"
            found.append(wrong(f"redis {where} writes", text, "see the log of Redis"))
        found.append(_persistence(where, report))
    found.append(_rights(where, report))
    if report.seconds_ahead is not None:
        check = f"redis {where} clock"
        found.append(clock_finding(check, report.seconds_ahead, _CLOCK_SECONDS))
    return found


def _version(where: str, report: RedisReport, *, is_replica: bool) -> Finding:
    check = f"redis {where}"
    role = "replica" if report.is_replica else "primary"
    text = f"Redis {report.version}, {role}"
    if numbers_of(report.version) < LOWEST_VERSION:
        lowest = ".".join(map(str, LOWEST_VERSION))
        return wrong(check, text, f"install Redis {lowest} or later")
    if report.is_replica and not is_replica:
        return wrong(check, text, f"name its primary in {PREFIX}REDIS_URL")
    return right(check, text)


def _policy(where: str, report: RedisReport) -> Finding:
    check = f"redis {where} policy"
    policy = report.info.get("maxmemory_policy")
    if policy is None:
        return _not_asked(check, "maxmemory-policy", "info")
    if policy != "noeviction":
        return wrong(
            check,
            f"maxmemory-policy is {policy}: Redis removes messages when it is full",
            "set maxmemory-policy noeviction in redis.conf, and by CONFIG SET",
        )
    return right(check, "maxmemory-policy is noeviction")


def _persistence(where: str, report: RedisReport) -> Finding:
    check = f"redis {where} persistence"
    if "aof_enabled" not in report.info:
        return _not_asked(check, "appendonly", "info")
    if report.info["aof_enabled"] == "1":
        fsync = report.config.get("appendfsync", "unknown")
        return right(check, f"appendonly yes, appendfsync {fsync}")
    advice = "set appendonly yes in redis.conf, and by CONFIG SET"
    saved = report.config.get("save")
    if saved is None:
        text = "appendonly no: what was not saved is lost when Redis ends"
    elif saved:
        text = f"appendonly no: what came after the last save ({saved}) is lost"
    else:
        text = "nothing is saved: all messages are lost when Redis ends"
    return warning(check, text, advice)


def _rights(where: str, report: RedisReport) -> Finding:
    check = f"redis {where} rights"
    if report.missing is None:
        return warning(
            check,
            f"Redis {report.version} does not say what a user may do, or refused to",
            "compare the user with the page on Redis; from 7.0 on it can be asked",
        )
    if report.missing:
        return wrong(
            check,
            "the user may not do all that the service does",
            f"ACL SETUSER ... {report.missing.rules}",
        )
    return right(check, "the user may do all that the service does")


def _not_asked(check: str, what: str, command: str) -> Finding:
    text = f"the user may not ask for {what}"
    return warning(check, text, f"add +{command} to the user, or look yourself")


def _name(host: Host | str) -> str:
    if isinstance(host, str):
        return host
    name, port = host
    return f"[{name}]:{port}" if ":" in name else f"{name}:{port}"
