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
        access: Who may do what.
        drain: Whether the server is going away.
        poller: The waits of the compatible endpoints.
        reader: The waits of `/v1`.
        publisher: What `/v1` publishes with.
        notifier: Wakes the waits for a log when it may have news.
        log: Messages that are read by cursor.
        latest_messages: The latest message of each event, of the OpenResty API.
        group_messages: Its messages to groups.
        health: Whether new clients are welcome.
        worker_metrics: The workers whose metrics are reported together.
    """

    settings: Settings
    access: AccessControl
    drain: Drain
    poller: Poller
    reader: Reader
    publisher: Publisher
    notifier: LogNotifier
    log: MessageLog
    latest_messages: LatestMessages
    group_messages: GroupMessages
    health: Health
    worker_metrics: WorkerMetrics


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
    access = access_control_from(settings)
    for warning in access.startup_warnings():
        _log.warning("%s", warning)
    async with AsyncExitStack() as stack:
        stores = await _enter_stores(stack, settings)
        client = await stack.enter_async_context(open_slock(settings))
        waits = ParkedWaits(drain, limit=settings.max_waits, metrics=metrics)
        watch = SlockMonitor(client.ping, waits, limit=settings.backend_limit)
        nursery = await stack.enter_async_context(trio.open_nursery())
        await nursery.start(watch.run)
        if access.rules.tickets is not None:
            nursery.start_soon(follow_revoked, settings, access.rules.tickets)
        nursery.start_soon(stores.lists.run)
        poller = Poller(client, stores.lists, waits, watch, settings, metrics)
        health = Health(
            drain, watch, waits, stores.lists.ping, limit=settings.backend_limit
        )
        nursery.start_soon(measure_loop_lag, metrics.loop_lag)
        worker_metrics = worker_metrics_from(os.environ)
        await nursery.start(worker_metrics.run, partial(snapshot_of, metrics))
        metrics.refusals = access.refusals
        metrics.readings |= {
            "draining": lambda: drain.draining,
            "slock_up": lambda: watch.up,
            "waits_limit": lambda: settings.max_waits,
        }
        notifier = LogNotifier(
            client,
            stores.log,
            prefix=settings.redis_prefix,
            max_keys=settings.max_watched_keys,
            limit=settings.backend_limit,
        )
        await nursery.start(notifier.run)
        reader = Reader(client, stores.log, notifier, waits, watch, metrics, settings)
        latest_messages = LatestMessages(
            client, stores.lists, stores.values, poller, metrics
        )
        group_messages = GroupMessages(
            client, stores.values, waits, watch, settings.backend_limit, metrics
        )
        yield Services(
            settings=settings,
            access=access,
            drain=drain,
            poller=poller,
            reader=reader,
            publisher=Publisher(client, stores.log, notifier, watch, metrics, settings),
            notifier=notifier,
            log=stores.log,
            latest_messages=latest_messages,
            group_messages=group_messages,
            health=health,
            worker_metrics=worker_metrics,
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
