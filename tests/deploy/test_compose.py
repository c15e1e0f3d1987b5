"""The compose file; `nox -s lint` checks it against the schema of the specification."""

from __future__ import annotations

import ipaddress
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.deploy.samples import DEPLOY, IMAGE, gives_time, read_yaml
from tests.services import RedisServer, find_tool

from triopoll.settings import settings_from

COMPOSE = read_yaml("compose.yaml")
SERVICES: dict[str, Any] = COMPOSE["services"]
NODES = {name: each for name, each in SERVICES.items() if name.startswith("triopoll")}


def address(service: dict[str, Any]) -> str:
    return str(service["networks"]["triopoll"]["ipv4_address"])


def container_command() -> list[str]:
    """Return what the image runs, of which the compose file changes nothing."""
    (line,) = re.findall(
        r"^CMD (\[.*\])$", (DEPLOY / "Containerfile").read_text(), re.MULTILINE
    )
    return [str(word) for word in json.loads(line)]


@pytest.mark.parametrize("node", NODES.values(), ids=NODES)
def test_a_node_has_the_time_that_its_drain_takes(node: dict[str, Any]) -> None:
    assert "command" not in node
    seconds = float(node["stop_grace_period"].removesuffix("s"))
    assert gives_time(seconds, container_command())


@pytest.mark.parametrize("node", NODES.values(), ids=NODES)
def test_a_node_has_no_rights(node: dict[str, Any]) -> None:
    assert node["read_only"] is True
    assert node["cap_drop"] == ["ALL"]
    assert node["security_opt"] == ["no-new-privileges:true"]
    assert node["tmpfs"] == ["/tmp"]


def test_nodes_are_built_here_with_this_version() -> None:
    assert len(NODES) == 2
    for node in NODES.values():
        assert node["image"] == IMAGE
        assert (
            DEPLOY / node["build"]["context"] / node["build"]["dockerfile"]
        ).exists()


def test_nodes_use_the_slock_the_redis_and_the_nginx_of_the_file() -> None:
    for node in NODES.values():
        settings = settings_from(node["environment"])
        assert settings.slock_url == "slock://slock:5658"
        assert settings.redis_url == "redis://redis:6379/0"
        assert settings.trusted_proxies == address(SERVICES["nginx"])
    assert {"slock", "redis"} <= SERVICES.keys()


def test_nginx_forwards_to_the_nodes() -> None:
    text = (DEPLOY / "compose" / "nginx.conf").read_text()
    found = re.findall(r"^ *server ([\d.]+):8000 max_fails=0;$", text, re.MULTILINE)
    assert sorted(found) == sorted(map(address, NODES.values()))


def test_addresses_are_of_the_network() -> None:
    (subnet,) = COMPOSE["networks"]["triopoll"]["ipam"]["config"]
    network = ipaddress.ip_network(subnet["subnet"])
    used = [address(each) for each in (*NODES.values(), SERVICES["nginx"])]
    assert len(set(used)) == len(used)
    assert all(ipaddress.ip_address(each) in network for each in used)


def test_files_that_are_mounted_exist() -> None:
    for volume in SERVICES["nginx"]["volumes"]:
        source, _, mode = volume.split(":")
        assert (DEPLOY / source).is_file()
        assert mode == "ro"


def test_volumes_are_declared() -> None:
    named = [
        volume.partition(":")[0]
        for service in SERVICES.values()
        for volume in service.get("volumes", [])
        if not volume.startswith(".")
    ]
    assert sorted(named) == sorted(COMPOSE["volumes"])


def test_each_service_has_a_check_or_that_of_its_image() -> None:
    for name, service in SERVICES.items():
        assert ("healthcheck" in service) != (name in NODES), name
    assert "\nHEALTHCHECK " in (DEPLOY / "Containerfile").read_text()


def test_services_wait_for_what_is_healthy() -> None:
    for service in SERVICES.values():
        for other, wanted in service.get("depends_on", {}).items():
            assert other in SERVICES
            assert wanted == {"condition": "service_healthy"}


def test_only_nginx_can_be_reached_and_from_this_machine() -> None:
    ports = {name: each["ports"] for name, each in SERVICES.items() if "ports" in each}
    assert ports == {"nginx": ["127.0.0.1:8080:80"]}


@pytest.mark.slow
def test_redis_runs_with_the_options(tmp_path: Path) -> None:
    """It keeps what it has, and never evicts a key."""
    program, *words = SERVICES["redis"]["command"]
    assert program == "redis-server"
    options = dict(zip(words[::2], words[1::2], strict=True))
    server = RedisServer(
        tmp_path, options={k.removeprefix("--"): v for k, v in options.items()}
    )
    server.start()
    try:
        assert config_of(server, "maxmemory-policy") == "noeviction"
        assert config_of(server, "appendonly") == "yes"
    finally:
        server.stop()


def config_of(server: RedisServer, name: str) -> str:
    command = [find_tool("redis-cli"), "-e", "-p", str(server.port)]
    done = subprocess.run(
        [*command, "config", "get", name], check=True, capture_output=True, text=True
    )
    return done.stdout.split()[1]
