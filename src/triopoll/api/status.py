"""``/livez``, ``/readyz`` and ``/metrics``: for operators and their probes."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from functools import partial

from ..access.proxies import is_forwarded
from ..asgi.messages import UNCACHED, Request, Response, Routes, json_response
from ..ops.metrics import Metrics
from ..ops.prometheus import CONTENT_TYPE, expose, snapshot_of
from ..services import Services
from ..settings import ANY_ADDRESS, Network, networks_of
from .refusals import format_v1

__all__ = ["UNLIMITED", "status_routes"]

# Paths without rate limits: a refused probe would look like a failed process.
UNLIMITED = frozenset({"/livez", "/readyz", "/metrics"})

_FORBIDDEN = "metrics are served to the addresses in TRIOPOLL_METRICS_FROM only"


def status_routes(services: Services, metrics: Metrics) -> Routes:
    """Return the endpoints.

    Args:
        services: What they ask.
        metrics: What is counted in this process.
    """
    ready = partial(_ready, services)
    expose_metrics = partial(_expose_metrics, services, metrics)
    return {
        "/livez": {"GET": _live, "HEAD": _live},
        "/readyz": {"GET": ready, "HEAD": ready},
        "/metrics": {"GET": expose_metrics},
    }


async def _live(request: Request) -> Response:
    """Answer, which shows that the event loop is responsive."""
    return json_response({"live": True}, headers=UNCACHED)


async def _ready(services: Services, request: Request) -> Response:
    found = await services.health.reasons()
    reasons = [{"code": code, "message": text} for code, text in found.items()]
    shape = {"ready": not reasons, "reasons": reasons}
    return json_response(shape, 503 if reasons else 200, UNCACHED)


async def _expose_metrics(
    services: Services, metrics: Metrics, request: Request
) -> Response:
    networks = networks_of(services.settings.metrics_from)
    if not all(network in networks for network in ANY_ADDRESS):
        if is_forwarded(request) or not _is_in(networks, request.peer):
            return json_response({"code": "forbidden", "message": _FORBIDDEN}, 403)
        refusal = services.access.check_source(request, needs_ticket=False)
        if refusal is not None:
            return format_v1(refusal)
    snapshots = await services.worker_metrics.snapshots(snapshot_of(metrics))
    headers = ((b"content-type", CONTENT_TYPE), *UNCACHED)
    return Response(expose(snapshots), headers=headers)


def _is_in(networks: Sequence[Network], peer: str | None) -> bool:
    try:
        address = ipaddress.ip_address((peer or "").partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return any((mapped or address) in network for network in networks)
