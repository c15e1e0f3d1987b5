"""All parts that the endpoints call, opened together and closed in reverse."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

import trio

from trioslock import Client, Database

from .access import AccessControl, KeyFiles, access_control_from
from .access.configuration import entries_of, naming
from .access.patterns import grants_from
from .core.admin_reports import AdminReports, AdminSources
from .core.delayed import DelayedMessages
from .core.group_messages import GroupMessages
from .core.health import Health, measure_loop_lag
from .core.held_keys import HeldKeys
from .core.latest_message import LatestMessages
from .core.log_notifier import Kind, LogNotifier, Watched
from .core.parked_waits import ParkedWaits
from .core.poller import Poller
from .core.presence import Presence
from .core.publisher import Publisher
from .core.reader import Reader
from .core.scan_times import ScanTimes
from .core.slock_backend import SlockMonitor, StartupError, open_slock, probe_slock
from .core.states import States
from .core.streams import Streams
from .core.wait_census import WaitCensus
from .core.waker import Waker
from .ops.drain import Drain
from .ops.metrics import Metrics
from .ops.prometheus import snapshot_of
from .ops.signals import call_at_reloads
from .ops.worker_metrics import WorkerMetrics, worker_metrics_from
from .ops.worker_sockets import worker_sockets_from
from .settings import PREFIX, Settings
from .store import (
    LogLimits,
    MemoryTaken,
    MessageLog,
    PendingLimits,
    Stores,
    StreamLimits,
    claimed_memory,
    open_stores,
    with_retention,
)

__all__ = ["Services", "log_limits", "open_services"]

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
    """The parts that endpoints call.

    Attributes:
        settings: The limits.
        access: Decides who may do what.
        drain: Whether the server shuts down.
        poller: The waits of the poll API.
        latest_messages: The latest message of each event, of the OpenResty API.
        group_messages: The group messages of the OpenResty API.
        reader: The waits of `/v1` and of websockets.
        publisher: Publishing through `/v1`.
        delayed: Messages that were published and are not due yet.
        presence: Who waits on a key; None where that is kept for no key.
        states: State waits.
        streams: Durable Streams.
        notifier: Wakes the waits for message logs.
        log: Messages that are read by cursor.
        health: Whether new clients are welcome.
        worker_metrics: The metrics of all workers.
        admin: What the admin page shows; None where it is off.
    """

    settings: Settings
    access: AccessControl
    drain: Drain
    poller: Poller
    latest_messages: LatestMessages
    group_messages: GroupMessages
    reader: Reader
    publisher: Publisher
    delayed: DelayedMessages
    presence: Presence | None
    states: States
    streams: Streams
    notifier: LogNotifier
    log: MessageLog
    health: Health
    worker_metrics: WorkerMetrics
    admin: AdminReports | None


@asynccontextmanager
async def open_services(
    settings: Settings, drain: Drain, metrics: Metrics
) -> AsyncGenerator[Services]:
    """Open all parts that the endpoints need, and close them in reverse.

    Args:
        settings: What to open, and where.
        drain: Ends the waits when the server shuts down.
        metrics: Counts what the parts do.

    Raises:
        SettingsError: A setting, or a file that it names, cannot be used.
        StartupError: A part cannot be opened; the message says what to change.

    Cancellation:
        All parts are closed; messages that clients were not sent return to their
        lists.
    """
    access = access_control_from(settings)
    for warning in access.startup_warnings():
        _log.warning("%s", warning)
    limit = settings.backend_limit
    async with AsyncExitStack() as stack:
        stores = await _enter_stores(stack, settings)
        client = await stack.enter_async_context(open_slock(settings))
        events: Database = client
        if settings.slock_db is not None:
            # Clients choose the names of events and groups, so these may be kept apart
            # from the service's own keys and from the locks of other programs.
            events = client.db(settings.slock_db)
        held = HeldKeys(
            limit=settings.max_held_keys, per_visitor=settings.held_keys_per_ip
        )
        waits = ParkedWaits(drain, limit=settings.max_waits, metrics=metrics, held=held)
        monitor = SlockMonitor(
            partial(probe_slock, client),
            waits,
            limit=limit,
            address=settings.slock_address,
            why=lambda: client.statistics().error,
        )
        notifier = _notifier(client, stores.log, settings, held, "log")
        state_notifier = _notifier(client, stores.states, settings, held, "state")
        stream_notifier = _notifier(client, stores.streams, settings, held, "stream")
        waker = Waker(notifier, monitor, metrics, limit)
        delayed = DelayedMessages(
            stores.delayed, client, waker, monitor, metrics, settings
        )
        metrics.readings["delayed_pending"] = lambda: delayed.pending
        presence = _presence(stores, waker, metrics, settings, access)
        worker_metrics = worker_metrics_from(os.environ)
        key_files = KeyFiles(settings, access.rules)
        _connect_metrics(metrics, access, drain, monitor, settings)
        metrics.reloads = key_files.reloads
        metrics.readings["reloads_failing"] = lambda: key_files.failing
        admin = None
        if settings.admin_keys:
            admin = _admin_reports(settings, waits, monitor, client, stores, metrics)

        nursery = await stack.enter_async_context(trio.open_nursery())
        await nursery.start(monitor.run)
        await nursery.start(notifier.run)
        await nursery.start(state_notifier.run)
        await nursery.start(stream_notifier.run)
        await nursery.start(worker_metrics.run, partial(snapshot_of, metrics))
        if admin is not None:
            await nursery.start(admin.run)
        nursery.start_soon(stores.lists.run)
        if settings.max_delay:
            nursery.start_soon(delayed.run)
        if presence is not None:
            nursery.start_soon(presence.run)
        nursery.start_soon(measure_loop_lag, metrics.loop_lag)
        nursery.start_soon(key_files.run)
        if drain.driven:
            await nursery.start(call_at_reloads, key_files.read_soon)

        poller = Poller(events, stores.lists, waits, monitor, settings, metrics)
        yield Services(
            settings=settings,
            access=access,
            drain=drain,
            poller=poller,
            latest_messages=LatestMessages(
                events, stores.lists, stores.values, poller, limit, metrics
            ),
            group_messages=GroupMessages(
                events, stores.values, waits, monitor, limit, metrics, client
            ),
            reader=Reader(
                events, stores.log, notifier, waits, monitor, metrics, settings
            ),
            publisher=Publisher(
                events, stores.log, notifier, monitor, metrics, settings, delayed
            ),
            delayed=delayed,
            presence=presence,
            states=States(
                *(stores.states, state_notifier, waits, monitor, metrics, settings),
                scans=None if admin is None else admin.scans,
            ),
            streams=Streams(
                stores.streams, stream_notifier, waits, monitor, metrics, settings
            ),
            notifier=notifier,
            log=stores.log,
            health=Health(drain, monitor, waits, stores.lists.ping, limit=limit),
            worker_metrics=worker_metrics,
            admin=admin,
        )
        nursery.cancel_scope.cancel()


def _notifier(
    client: Client, watched: Watched, settings: Settings, held: HeldKeys, kind: Kind
) -> LogNotifier:
    return LogNotifier(
        client,
        watched,
        prefix=settings.redis_prefix,
        max_keys=settings.max_watched_keys,
        limit=settings.backend_limit,
        held=held,
        kind=kind,
    )


def _presence(
    stores: Stores,
    waker: Waker,
    metrics: Metrics,
    settings: Settings,
    access: AccessControl,
) -> Presence | None:
    """Return what keeps who waits, and let it count all waits; None where it is off."""
    with naming("PRESENCE"):
        patterns = entries_of(settings.presence)
        if not patterns:
            return None
        keeps = grants_from(patterns).allow
    presence = Presence(stores.presence, waker, metrics, settings, keeps)
    access.attend = presence.attend
    metrics.readings["presence_waits"] = lambda: presence.table.places
    return presence


def _admin_reports(
    settings: Settings,
    waits: ParkedWaits,
    monitor: SlockMonitor,
    client: Client,
    stores: Stores,
    metrics: Metrics,
) -> AdminReports:
    sources = AdminSources(
        census=WaitCensus(waits),
        waits_limit=settings.max_waits,
        metrics=metrics,
        scans=ScanTimes(),
        monitor=monitor,
        slock_address=settings.slock_address,
        slock=client.statistics,
        redis=stores.status,
        ping=stores.lists.ping,
    )
    return AdminReports(sources, worker_sockets_from(os.environ, "admin"))


def _connect_metrics(
    metrics: Metrics,
    access: AccessControl,
    drain: Drain,
    monitor: SlockMonitor,
    settings: Settings,
) -> None:
    """Let the metrics read the current state of some parts."""
    metrics.refusals = access.refusals
    metrics.readings |= {
        "draining": lambda: drain.draining,
        "slock_up": lambda: monitor.up,
        "waits_limit": lambda: settings.max_waits,
    }


async def _enter_stores(stack: AsyncExitStack, settings: Settings) -> Stores:
    stores = open_stores(
        settings.redis_url,
        limit=settings.backend_limit,
        redis_prefix=settings.redis_prefix,
        list_prefix=settings.list_prefix,
        log_limits=log_limits(settings),
        pending_limits=PendingLimits(
            per_key=settings.max_pending_per_key, in_total=settings.max_pending
        ),
        stream_limits=StreamLimits(max_bytes=settings.stream_max_bytes),
    )
    if not settings.keeps_messages and not settings.list_prefix:
        _log.warning(_EVERY_LIST)
    try:
        # An embedded engine needs no claim: its port is taken for a second process.
        if settings.keeps_messages and settings.embedded_address is None:
            stack.enter_context(claimed_memory())
        return await stack.enter_async_context(stores)
    except MemoryTaken:
        raise StartupError(_MEMORY_TAKEN) from None
    except ValueError as error:
        raise StartupError(f"{PREFIX}REDIS_URL: {error}") from error


def log_limits(settings: Settings) -> LogLimits:
    """Return how much is kept in logs; a file of rules is read now.

    Raises:
        SettingsError: A rule cannot be used.
    """
    longest = settings.log_max_ttl
    limits = LogLimits(
        max_messages=settings.log_max_messages,
        max_age=settings.log_max_age,
        max_ttl=longest,
        memory=max(longest, LogLimits().memory),
        trim_acked=settings.log_trim_acked,
    )
    with naming("RETENTION"):
        return with_retention(limits, entries_of(settings.retention))
