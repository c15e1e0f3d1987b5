"""``/livez``, ``/readyz`` and ``/metrics``: for operators and their probes."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from functools import partial

from ..asgi.messages import UNCACHED, Request, Response, Routes, json_response
from ..ops.metrics import Metrics
from ..ops.prometheus import CONTENT_TYPE, expose, snapshot_of
from ..services import Services
from ..settings import ANY_ADDRESS, Network, networks_of

__all__ = ["UNLIMITED", "status_routes"]

# Paths without rate limits: a refused probe would look like a failed process.
UNLIMITED = frozenset({"/livez", "/readyz", "/metrics"})

# A request with one of these came through a proxy: its peer is not the client.
_FORWARDED = (b"forwarded", b"x-forwarded-for", b"x-real-ip", b"via")
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
    if not _may_read(request, networks_of(services.settings.metrics_from)):
        return json_response({"code": "forbidden", "message": _FORBIDDEN}, 403)
    snapshots = await services.worker_metrics.snapshots(snapshot_of(metrics))
    headers = ((b"content-type", CONTENT_TYPE), *UNCACHED)
    return Response(expose(snapshots), headers=headers)


def _may_read(request: Request, networks: Sequence[Network]) -> bool:
    """Return whether a request comes from one of the networks, and not by a proxy."""
    if all(network in networks for network in ANY_ADDRESS):
        return True
    if request.peer is None or any(name in _FORWARDED for name, _ in request.headers):
        return False
    try:
        address = ipaddress.ip_address(request.peer.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return any((mapped or address) in network for network in networks)
