"""The rules of Prometheus and the dashboard of Grafana ask for metrics that exist."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from typing import Any, get_args

import promql_parser
import pytest
from tests.deploy.samples import DEPLOY, ROOT, read_yaml
from tests.services import find_tool
from tests.triopoll.ops.exposition import filled, values

from triopoll.ops.metrics import Kind
from triopoll.ops.prometheus import expose, snapshot_of
from triopoll.testing import TriopollServer

DASHBOARD = json.loads((DEPLOY / "grafana" / "triopoll.json").read_text())
PANELS = DASHBOARD["panels"]
RULES = [
    rule
    for group in read_yaml("prometheus/rules.yaml")["groups"]
    for rule in group["rules"]
]
# Of Prometheus itself, and what it adds to each sample.
FROM_PROMETHEUS = {"up": {"job", "instance"}}
ADDED = {"job", "instance"}


def queries() -> Iterator[tuple[str, str]]:
    """Return each expression of the dashboard and of the rules, with its place."""
    for panel in PANELS:
        for target in panel.get("targets", []):
            text = target["expr"].replace("$__rate_interval", "5m")
            yield panel["title"], re.sub(r"\$(job|instance)", ".*", text)
    for rule in RULES:
        yield rule.get("record") or rule["alert"], rule["expr"]


QUERIES = list(queries())


def known() -> dict[str, set[str]]:
    """Return the labels of each sample that Prometheus gets, or that a rule records."""
    found = dict(FROM_PROMETHEUS)
    for name, labels in values(expose({"0": snapshot_of(filled())})):
        found.setdefault(name, set()).update({key for key, _ in labels} | ADDED)
    for rule in RULES:
        if "record" in rule:
            found[rule["record"]] = labels_in(rule["expr"], found)
    return found


def labels_in(text: str, samples: dict[str, set[str]]) -> set[str]:
    """Return all labels that the samples of an expression have."""
    names = [name for name, _ in selectors(text)]
    return set().union(*(samples[name] for name in names))


def selectors(text: str) -> list[tuple[str, dict[str, str]]]:
    """Return name and matchers of each selector of an expression."""
    found: list[tuple[str, dict[str, str]]] = []

    def visit(part: Any) -> None:
        if isinstance(part, promql_parser.MatrixSelector):
            part = part.vector_selector
        elif not isinstance(part, promql_parser.VectorSelector):
            return
        matchers = {each.name: each.value for each in part.matchers.matchers}
        found.append((part.name, matchers))

    promql_parser.walk(promql_parser.parse(text), visit)
    return found


def grouped_by(text: str) -> set[str]:
    """Return the labels that an expression keeps or drops."""
    lists = re.findall(r"\b(?:by|without) \(([^)]*)\)", text)
    return {name.strip() for each in lists for name in each.split(",")}


@pytest.mark.parametrize(("place", "text"), QUERIES, ids=[one[0] for one in QUERIES])
def test_an_expression_asks_for_metrics_and_labels_that_exist(
    place: str, text: str
) -> None:
    samples = known()
    asked = selectors(text)
    assert asked
    for name, matchers in asked:
        assert name in samples, place
        assert matchers.keys() <= samples[name], place
    assert grouped_by(text) <= labels_in(text, samples), place


@pytest.mark.parametrize("text", ["sum(triopoll_wait_parked)", 'up{jobs="x"}'])
def test_another_name_would_be_seen(text: str) -> None:
    with pytest.raises((AssertionError, KeyError)):
        test_an_expression_asks_for_metrics_and_labels_that_exist("here", text)


def test_kinds_of_waits_exist() -> None:
    kinds = {
        value
        for _, text in QUERIES
        for _, matchers in selectors(text)
        if (value := matchers.get("kind"))
    }
    assert kinds == {"websocket", "message"}
    assert kinds <= set(get_args(Kind))


def test_a_running_service_has_all_these_metrics(
    triopoll_server: TriopollServer,
) -> None:
    """Also those without a sample yet."""
    text = metrics_of(triopoll_server)
    families = {
        name.removesuffix("_total")
        for name in re.findall(r"^# TYPE (\S+) ", text, re.MULTILINE)
    }
    own = {rule.get("record") for rule in RULES} | FROM_PROMETHEUS.keys()
    for place, query in QUERIES:
        for name, _ in selectors(query):
            family = re.sub(r"_(total|bucket)$", "", name)
            assert name in own or family in families, place


def metrics_of(server: TriopollServer) -> str:
    command = [find_tool("curl"), "-sSf", f"{server.url}/metrics"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "config", "deploy/prometheus/prometheus.yaml"),
        ("check", "rules", "--lint-fatal", "deploy/prometheus/rules.yaml"),
        ("test", "rules", "tests/deploy/rules_test.yaml"),
    ],
    ids=" ".join,
)
def test_prometheus_accepts_the_files(arguments: tuple[str, ...]) -> None:
    """Its own tool checks them, and runs the tests of the alerts."""
    done = subprocess.run(
        [find_tool("promtool"), *arguments],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_alert_says_what_to_do() -> None:
    alerts = [rule for rule in RULES if "alert" in rule]
    assert len(alerts) == len({rule["alert"] for rule in alerts}) > 10
    for rule in alerts:
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"].keys() == {"summary", "description"}


def test_panels_lie_beside_each_other() -> None:
    """Within the 24 columns of Grafana, none on another one, each with its own id."""
    taken: set[tuple[int, int]] = set()
    for panel in PANELS:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)


def test_panels_use_the_chosen_data_source() -> None:
    variables = {one["name"] for one in DASHBOARD["templating"]["list"]}
    assert variables == {"datasource", "job", "instance"}
    for panel in PANELS:
        for part in (panel, *panel.get("targets", [])):
            if panel["type"] != "row":
                assert part["datasource"]["uid"] == "${datasource}"
