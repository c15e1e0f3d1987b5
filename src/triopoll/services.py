"""All that the endpoints work with, opened together and closed in reverse."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

import trio

from .access import AccessControl, access_control_from, follow_revoked
from .core.group_messages import GroupMessages
from .core.health import Health, measure_loop_lag
from .core.latest_message import LatestMessages
from .core.log_notifier import LogNotifier
from .core.parked_waits import ParkedWaits
from .core.poller import Poller
from .core.publisher import Publisher
from .core.reader import Reader
from .core.slock_backend import SlockMonitor, StartupError, open_slock
from .ops.drain import Drain
from .ops.metrics import Metrics
from .ops.prometheus import snapshot_of
from .ops.worker_metrics import WorkerMetrics, worker_metrics_from
from .settings import PREFIX, Settings
from .store import (
    LogLimits,
    MemoryTaken,
    MessageLog,
    Stores,
    claimed_memory,
    open_stores,
)

__all__ = ["Services", "open_services"]

_MEMORY_TAKEN = (
    "messages in memory serve one process only, and another worker keeps some. Run "
    f"one worker; or set {PREFIX}REDIS_URL=redis://HOST:PORT for all of them"
)

_EVERY_LIST = (
    "any visitor can take messages from any list in this Redis database, since "
    f"{PREFIX}LIST_PREFIX is empty; set it to what the names of your lists begin with"
)

_log = logging.getLogger("triopoll")


@dataclass(frozen=True, slots=True)
class Services:
    """What endpoints call.

    Attributes:
        settings: For the limits.
        gate: Who may do what.
        drain: Whether the server is going away.
        poller: The waits of the compatible endpoints.
        reader: The waits of `/v1`.
        publisher: What `/v1` publishes with.
        wakes: Tells those who wait that there may be news of a log.
        log: Messages that are read by cursor.
        kept: The messages of the image's endpoints.
        groups: Its messages to groups.
        health: Whether new clients are welcome.
        siblings: The workers whose numbers are told together.
    """

    settings: Settings
    gate: AccessControl
    drain: Drain
    poller: Poller
    reader: Reader
    publisher: Publisher
    wakes: LogNotifier
    log: MessageLog
    kept: LatestMessages
    groups: GroupMessages
    health: Health
    siblings: WorkerMetrics


@asynccontextmanager
async def open_services(
    settings: Settings, drain: Drain, metrics: Metrics
) -> AsyncGenerator[Services]:
    """Open all that the endpoints need, and close it in reverse.

    Args:
        settings: Say what and where.
        drain: Ends the waits when the server goes away.
        metrics: Where all of it is counted.

    Raises:
        SettingsError: A setting, or a file that it names, cannot be used.
        StartupError: Something cannot be opened like this; says what to do.

    Cancellation:
        Everything is closed; messages that are owed to the store are given back.
    """
    gate = access_control_from(settings)
    for note in gate.notes():
        _log.warning("%s", note)
    async with AsyncExitStack() as stack:
        stores = await _enter_stores(stack, settings)
        client = await stack.enter_async_context(open_slock(settings))
        waits = ParkedWaits(drain, limit=settings.max_waits, metrics=metrics)
        watch = SlockMonitor(client.ping, waits, limit=settings.backend_limit)
        nursery = await stack.enter_async_context(trio.open_nursery())
        await nursery.start(watch.run)
        if gate.rules.tickets is not None:
            nursery.start_soon(follow_revoked, settings, gate.rules.tickets)
        nursery.start_soon(stores.lists.run)
        poller = Poller(client, stores.lists, waits, watch, settings, metrics)
        health = Health(
            drain, watch, waits, stores.lists.ping, limit=settings.backend_limit
        )
        nursery.start_soon(measure_loop_lag, metrics.loop_lag)
        siblings = worker_metrics_from(os.environ)
        await nursery.start(siblings.run, partial(snapshot_of, metrics))
        metrics.refusals = gate.refusals
        metrics.readings |= {
            "draining": lambda: drain.draining,
            "slock_up": lambda: watch.up,
            "waits_limit": lambda: settings.max_waits,
        }
        wakes = LogNotifier(
            client,
            stores.log,
            prefix=settings.redis_prefix,
            max_keys=settings.max_watched_keys,
            limit=settings.backend_limit,
        )
        await nursery.start(wakes.run)
        reader = Reader(client, stores.log, wakes, waits, watch, metrics, settings)
        kept = LatestMessages(client, stores.lists, stores.values, poller, metrics)
        groups = GroupMessages(
            client, stores.values, waits, watch, settings.backend_limit, metrics
        )
        yield Services(
            settings=settings,
            gate=gate,
            drain=drain,
            poller=poller,
            reader=reader,
            publisher=Publisher(client, stores.log, wakes, watch, metrics, settings),
            wakes=wakes,
            log=stores.log,
            kept=kept,
            groups=groups,
            health=health,
            siblings=siblings,
        )
        nursery.cancel_scope.cancel()


async def _enter_stores(stack: AsyncExitStack, settings: Settings) -> Stores:
    stores = open_stores(
        settings.redis_url,
        limit=settings.backend_limit,
        redis_prefix=settings.redis_prefix,
        list_prefix=settings.list_prefix,
        log_limits=_log_limits(settings),
    )
    if not settings.keeps_messages and not settings.list_prefix:
        _log.warning(_EVERY_LIST)
    try:
        # With an embedded engine, its port keeps a second process away.
        if settings.keeps_messages and settings.embedded_address is None:
            stack.enter_context(claimed_memory())
        return await stack.enter_async_context(stores)
    except MemoryTaken:
        raise StartupError(_MEMORY_TAKEN) from None
    except ValueError as error:
        raise StartupError(f"{PREFIX}REDIS_URL: {error}") from error


def _log_limits(settings: Settings) -> LogLimits:
    longest = settings.log_max_ttl
    return LogLimits(
        max_messages=settings.log_max_messages,
        max_age=settings.log_max_age,
        max_ttl=longest,
        memory=max(longest, LogLimits().memory),
        trim_acked=settings.log_trim_acked,
    )
