"""Findings about real Redis servers: alone, behind Sentinels, in a cluster."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.redis_rigs import ClusterRig, SentinelRig, admin_of, until
from tests.services import RedisServer, find_free_port, find_tool, wait_for_port
from tests.triopoll.store.test_acl import documented_rules

from triopoll.cli.finding import Finding
from triopoll.cli.redis_checks import check_redis, findings_of
from triopoll.settings import Settings
from triopoll.store import RedisReport, inspect_cluster, parse_redis_url
from triopoll.store._rights import Missing

GOOD = RedisReport(
    version="7.2.0",
    is_replica=False,
    info={"maxmemory_policy": "noeviction", "aof_enabled": "1"},
    config={"appendfsync": "everysec", "save": ""},
    seconds_ahead=0.0,
    missing=Missing(),
)


async def check(url: str, *, workers: int = 1, limit: float = 5.0) -> list[Finding]:
    settings = Settings(redis_url=url, list_prefix="poll:")
    return await check_redis(settings, workers=workers, limit=limit)


def of(findings: list[Finding], words: str) -> Finding:
    """Return the one finding whose check ends with these words."""
    (found,) = [each for each in findings if each.check.endswith(words)]
    return found


def not_right(findings: list[Finding]) -> list[str]:
    return [f"{f.check}: {f.text}" for f in findings if f.verdict != "right"]


async def test_a_server_as_it_should_be(tmp_path: Path) -> None:
    """With a file of appended commands, and the user that the page on Redis makes."""
    server = RedisServer(tmp_path, durable=True)
    server.start()
    try:
        with admin_of(server) as admin:
            admin.execute_command("ACL", "SETUSER", "app", *documented_rules())
        url = server.url.replace("://", "://app:SECRET@")
        found = await check(url)
    finally:
        server.kill()
    assert not_right(found) == []
    assert len(found) == 5
    assert "SECRET" not in str(found)


async def test_a_server_that_loses_messages(own_redis: RedisServer) -> None:
    """It evicts, saves nothing, and its user may not trim."""
    with admin_of(own_redis) as admin:
        admin.config_set("maxmemory-policy", "allkeys-lru")
        admin.execute_command(
            *("ACL", "SETUSER", "app", *documented_rules(), "-xtrim", "-info")
        )
        found = await check(own_redis.url)
        assert of(found, "policy").verdict == "wrong"
        assert of(found, "persistence").verdict == "warning"
        found = await check(own_redis.url.replace("://", "://app:SECRET@"))
    assert of(found, "rights").advice == "ACL SETUSER ... +info +xtrim"
    assert of(found, "policy").advice == "add +info to the user, or look yourself"
    assert of(found, "persistence").verdict == "warning"


async def test_a_server_that_refuses_writes(own_redis: RedisServer) -> None:
    with admin_of(own_redis) as admin:
        admin.config_set("maxmemory", 1)
    assert of(await check(own_redis.url), "writes").verdict == "wrong"


async def test_nothing_listens() -> None:
    """One line, which names the address and nothing secret."""
    where = f"127.0.0.1:{find_free_port()}"
    (finding,) = await check(f"redis://app:SECRET@{where}")
    assert (finding.check, finding.verdict) == (f"redis {where}", "wrong")
    assert "refused" in finding.text
    assert "SECRET" not in str(finding)


async def test_a_server_that_answers_nothing() -> None:
    """The limit ends the question."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        (finding,) = await check(f"redis://127.0.0.1:{port}", limit=0.2)
    assert finding.verdict == "wrong"


async def test_a_socket_file_that_is_missing(tmp_path: Path) -> None:
    (finding,) = await check(f"unix://{tmp_path}/redis.sock")
    assert finding.check == f"redis {tmp_path}/redis.sock"


@pytest.mark.parametrize(
    ("url", "workers", "verdict", "words"),
    [
        ("memory://", 1, "warning", "lost when it ends"),
        ("memory://", 2, "wrong", "2 workers"),
        ("redis://a,b", 1, "wrong", "has one host"),
        ("redis://:SECRET@a/x", 1, "wrong", "must be a number"),
    ],
)
async def test_what_needs_no_server(
    url: str, workers: int, verdict: str, words: str
) -> None:
    (finding,) = await check(url, workers=workers)
    assert (finding.verdict, words in finding.text) == (verdict, True)
    assert "SECRET" not in str(finding)


async def test_lists_without_a_prefix() -> None:
    """Visitors could take messages from all of them."""
    url = f"redis://127.0.0.1:{find_free_port()}"
    found = await check_redis(Settings(redis_url=url), workers=1, limit=5)
    assert of(found, "lists").verdict == "warning"


@pytest.mark.parametrize(
    ("report", "check", "verdict", "words"),
    [
        (replace(GOOD, version="6.0.16"), "redis a:1", "wrong", "6.0.16"),
        (replace(GOOD, is_replica=True), "redis a:1", "wrong", "replica"),
        (replace(GOOD, missing=None), "rights", "warning", "does not say"),
        (replace(GOOD, seconds_ahead=9.0), "clock", "warning", "9.0 s ahead"),
        (replace(GOOD, info={}), "persistence", "warning", "may not ask"),
        (
            replace(GOOD, info={"aof_enabled": "0"}, config={}),
            "persistence",
            "warning",
            "not saved is lost",
        ),
        (
            replace(GOOD, info={"aof_enabled": "0"}, config={"save": "60 1"}),
            "persistence",
            "warning",
            "last save (60 1)",
        ),
    ],
)
def test_what_a_report_means(
    report: RedisReport, check: str, verdict: str, words: str
) -> None:
    finding = of(findings_of("a:1", report, is_replica=False), check)
    assert (finding.verdict, words in finding.text) == (verdict, True)


def test_a_replica_is_not_asked_for_writes() -> None:
    """Nor for its file: it has what the primary has."""
    report = replace(GOOD, is_replica=True, refusal="is a replica and refuses writes")
    found = findings_of("a:1", report, is_replica=True)
    assert not_right(found) == []
    assert len(found) == 4


def test_a_clock_that_cannot_be_read_is_left_out() -> None:
    found = findings_of("a:1", replace(GOOD, seconds_ahead=None), is_replica=False)
    assert not any("clock" in finding.check for finding in found)


@pytest.fixture
def lone_node(tmp_path: Path) -> Iterator[RedisServer]:
    """A cluster of one node, which has no slots yet."""
    port = find_free_port()
    options = {"cluster-enabled": "yes", "cluster-port": str(find_free_port())}
    server = RedisServer(tmp_path, port=port, options=options)
    server.start()
    yield server
    server.kill()


@pytest.mark.slow
async def test_a_cluster_of_one_node(lone_node: RedisServer) -> None:
    """Slots that no node has are wrong; a silent node that is named is a warning."""
    url = f"redis+cluster://127.0.0.1:{lone_node.port}"
    with admin_of(lone_node) as admin:
        admin.execute_command("CLUSTER", "ADDSLOTSRANGE", "0", "16000")
        found = await check(url)
        assert of(found, "cluster").verdict == "wrong"
        assert "383" in of(found, "cluster").text
        admin.execute_command("CLUSTER", "ADDSLOTSRANGE", "16001", "16383")
    found = await check(f"{url},127.0.0.1:1")
    assert of(found, "cluster").verdict == "right"
    assert of(found, "127.0.0.1:1").verdict == "warning"
    assert of(found, "rights").verdict == "right"


async def test_a_cluster_that_is_not_there() -> None:
    found = await check(f"redis+cluster://127.0.0.1:{find_free_port()}")
    assert [finding.verdict for finding in found] == ["warning", "wrong"]


@pytest.fixture
def sentinel(own_redis: RedisServer, tmp_path: Path) -> Iterator[int]:
    """One Sentinel that watches a Redis of the test's own; its port."""
    server = _LoneSentinel(tmp_path / "sentinel.conf", own_redis)
    server.start()
    yield server.port
    server.kill()


class _LoneSentinel(RedisServer):
    def __init__(self, path: Path, primary: RedisServer) -> None:
        super().__init__(path.parent)
        self._path = path
        path.write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {path.parent}\n"
            f"sentinel monitor mymaster {primary.host} {primary.port} 1\n"
        )

    def start(self, *, wait_until_loaded: bool = True) -> None:
        self._process = subprocess.Popen(
            [find_tool("redis-sentinel"), str(self._path)], stdout=subprocess.DEVNULL
        )
        wait_for_port(self.port, self._process)


async def test_a_sentinel(sentinel: int, own_redis: RedisServer) -> None:
    """It names the primary, which is checked; one that is silent is a warning."""
    url = f"redis+sentinel://127.0.0.1:{sentinel},127.0.0.1:1/mymaster"
    found = await check(url)
    assert str(own_redis.port) in of(found, f"sentinel 127.0.0.1:{sentinel}").text
    assert of(found, "sentinel 127.0.0.1:1").verdict == "warning"
    assert of(found, "policy").check == f"redis 127.0.0.1:{own_redis.port} policy"


async def test_a_primary_that_no_sentinel_knows(sentinel: int) -> None:
    found = await check(f"redis+sentinel://127.0.0.1:{sentinel}/other")
    assert [finding.verdict for finding in found] == ["warning", "wrong"]
    assert "but none" in found[-1].text


@pytest.mark.long
async def test_a_primary_and_its_replica(tmp_path: Path) -> None:
    """Both are checked; a replica that would evict is found before it takes over."""
    with SentinelRig(tmp_path) as rig:
        with admin_of(rig.replica) as admin:
            admin.config_set("maxmemory-policy", "allkeys-lru")
        found = await check(rig.url)
        assert of(found, f"{rig.primary.port} policy").verdict == "right"
        assert of(found, f"{rig.replica.port} policy").verdict == "wrong"


@pytest.mark.long
async def test_a_whole_cluster(tmp_path: Path) -> None:
    """Each primary and each replica, also those that the URL does not name."""
    with ClusterRig(tmp_path) as rig:
        address = parse_redis_url(rig.url, 5)
        # Who is a replica spreads after the cluster has begun to serve.
        until(lambda: inspect_cluster(address, address.hosts[0]).replicas)
        found = await check(rig.url)
    policies = [each for each in found if each.check.endswith("policy")]
    assert len(policies) == 4
    assert all(finding.verdict != "wrong" for finding in found), not_right(found)
