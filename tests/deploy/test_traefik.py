"""The sample for Traefik, which is not run: what it names exists, and it is complete.

The keys are those of the reference of Traefik 3, docs/content/reference:
static-configuration/file.yaml and dynamic-configuration/file.yaml.
"""

from __future__ import annotations

from typing import Any

from tests.deploy.samples import read_yaml

STATIC = read_yaml("proxies/traefik.yaml")
DYNAMIC = read_yaml("proxies/traefik-dynamic.yaml")
HTTP = DYNAMIC["http"]

# A name of the user's own is "*".
KEYS: dict[str, Any] = {
    "entryPoints.*.address": str,
    "entryPoints.*.transport.respondingTimeouts.readTimeout": str,
    "entryPoints.*.transport.respondingTimeouts.writeTimeout": str,
    "entryPoints.*.transport.respondingTimeouts.idleTimeout": str,
    "providers.file.filename": str,
    "http.routers.*.entryPoints": list,
    "http.routers.*.rule": str,
    "http.routers.*.service": str,
    "http.routers.*.tls": dict,
    "http.services.*.loadBalancer.servers": list,
    "http.services.*.loadBalancer.healthCheck.path": str,
    "http.services.*.loadBalancer.healthCheck.interval": str,
    "http.services.*.loadBalancer.healthCheck.timeout": str,
    "http.services.*.loadBalancer.serversTransport": str,
    "http.serversTransports.*.forwardingTimeouts.responseHeaderTimeout": str,
    "http.serversTransports.*.forwardingTimeouts.idleConnTimeout": str,
    "tls.certificates": list,
}
OWN_NAMES = ("entryPoints", "routers", "services", "serversTransports")


def leaves(part: Any, path: str = "") -> dict[str, Any]:
    """Return each value that is no mapping, by the path of its keys."""
    if not isinstance(part, dict) or not part:
        return {path: part}
    own = path.rpartition(".")[2] in OWN_NAMES
    found: dict[str, Any] = {}
    for key, value in part.items():
        found |= leaves(value, f"{path}.{'*' if own else key}".lstrip("."))
    return found


def test_keys_are_those_of_traefik() -> None:
    found = leaves(STATIC) | leaves(DYNAMIC)
    assert {path: type(value) for path, value in found.items()} == KEYS


def test_names_lead_to_what_exists() -> None:
    (router,) = HTTP["routers"].values()
    balancer = HTTP["services"][router["service"]]["loadBalancer"]
    assert set(router["entryPoints"]) <= STATIC["entryPoints"].keys()
    assert balancer["serversTransport"] in HTTP["serversTransports"]
    assert balancer["healthCheck"]["path"] == "/readyz"
    assert [each.keys() for each in balancer["servers"]] == [{"url"}] * 2
    assert STATIC["providers"]["file"]["filename"].endswith("/traefik-dynamic.yaml")


def test_only_what_is_public_is_forwarded() -> None:
    (router,) = HTTP["routers"].values()
    paths = "(PathPrefix(`/poll/`) || PathPrefix(`/v1/`))"
    assert router["rule"] == f"Host(`poll.example`) && {paths}"


def test_no_other_time_ends_a_poll() -> None:
    """The read timeout has its own test; 0 s is no limit."""
    (entry,) = STATIC["entryPoints"].values()
    (transport,) = HTTP["serversTransports"].values()
    assert entry["transport"]["respondingTimeouts"]["writeTimeout"] == "0s"
    assert transport["forwardingTimeouts"]["responseHeaderTimeout"] == "0s"
