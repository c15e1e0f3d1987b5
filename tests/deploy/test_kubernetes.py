"""The manifests for Kubernetes; `nox -s lint` checks them against its schemas."""

from __future__ import annotations

from typing import Any

import pytest
from tests.deploy.samples import IMAGE, gives_time, read_yaml, seconds_to_stop

from triopoll.api.status import UNLIMITED
from triopoll.server import ServerSettings
from triopoll.settings import settings_from

DEPLOYMENT = read_yaml("kubernetes/deployment.yaml")
SERVICE = read_yaml("kubernetes/service.yaml")
BUDGET = read_yaml("kubernetes/disruption-budget.yaml")
POD = DEPLOYMENT["spec"]["template"]["spec"]
(CONTAINER,) = POD["containers"]
LABELS = DEPLOYMENT["spec"]["template"]["metadata"]["labels"]


def test_the_pod_has_the_time_that_its_drain_takes() -> None:
    assert gives_time(POD["terminationGracePeriodSeconds"], CONTAINER["args"])


def test_a_longer_drain_would_be_seen() -> None:
    """By the defaults of the settings, and by the arguments of the sample."""
    drain = ServerSettings()
    default = drain.drain_delay + drain.drain_window + drain.drain_grace + 10
    assert seconds_to_stop(["serve"]) == default
    assert seconds_to_stop(["serve", "--drain-delay", "30"]) == default + 25


@pytest.mark.parametrize(
    ("probe", "path"), [("livenessProbe", "/livez"), ("readinessProbe", "/readyz")]
)
def test_probes_ask_what_is_made_for_them(probe: str, path: str) -> None:
    assert path in UNLIMITED
    assert CONTAINER[probe]["httpGet"] == {"path": path, "port": "http"}


def test_the_pod_is_out_of_service_within_half_of_the_delay() -> None:
    """So that no new client comes when the listeners close."""
    probe = CONTAINER["readinessProbe"]
    seconds = probe["periodSeconds"] * probe["failureThreshold"]
    delay = float(CONTAINER["args"][CONTAINER["args"].index("--drain-delay") + 1])
    assert seconds + probe["timeoutSeconds"] < delay / 2


def test_a_busy_process_is_not_restarted() -> None:
    probe = CONTAINER["livenessProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] >= 60


@pytest.mark.parametrize(
    "labels",
    [
        DEPLOYMENT["spec"]["selector"]["matchLabels"],
        SERVICE["spec"]["selector"],
        BUDGET["spec"]["selector"]["matchLabels"],
        POD["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"],
    ],
)
def test_selectors_choose_the_pods(labels: dict[str, str]) -> None:
    assert labels.items() <= LABELS.items()


def test_one_pod_at_a_time_is_taken() -> None:
    assert BUDGET["spec"]["maxUnavailable"] < DEPLOYMENT["spec"]["replicas"]
    assert DEPLOYMENT["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


def test_ports_have_one_name() -> None:
    """It is the port on which the arguments listen."""
    (port,) = CONTAINER["ports"]
    (served,) = SERVICE["spec"]["ports"]
    assert served["targetPort"] == port["name"] == "http"
    assert f"0.0.0.0:{port['containerPort']}" in CONTAINER["args"]


def test_the_service_accepts_the_variables() -> None:
    assert CONTAINER["image"].endswith(f"/{IMAGE}")
    settings = settings_from({one["name"]: one["value"] for one in CONTAINER["env"]})
    assert settings.embedded_address is None
    assert not settings.keeps_messages


def test_the_pod_has_no_rights() -> None:
    """As the restricted profile of Kubernetes asks, and no file can be written."""
    own = CONTAINER["securityContext"]
    assert POD["securityContext"]["runAsNonRoot"] is True
    assert POD["securityContext"]["runAsUser"] > 0
    assert POD["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert own["allowPrivilegeEscalation"] is False
    assert own["readOnlyRootFilesystem"] is True
    assert own["capabilities"] == {"drop": ["ALL"]}
    assert POD["automountServiceAccountToken"] is False


def test_the_volume_is_where_workers_have_their_sockets() -> None:
    (mount,) = CONTAINER["volumeMounts"]
    (volume,) = POD["volumes"]
    assert (mount["name"], mount["mountPath"]) == (volume["name"], "/tmp")


def test_memory_is_enough_for_all_waits() -> None:
    """By the figures of docs/how-to/size-a-deployment.md: 70 MB, and 145 for 10,000."""
    needed = 70 + 145 * settings_from({}).max_waits / 10_000
    assert mebibytes(CONTAINER["resources"]["limits"]["memory"]) > 2 * needed


def mebibytes(quantity: Any) -> float:
    sizes = {"Mi": 1, "Gi": 1024}
    return float(quantity[:-2]) * sizes[quantity[-2:]]
