"""The page "From one machine to many": its files fit together, and nothing is lost."""

from __future__ import annotations

import re
from typing import Any

import pytest
from tests.bench_runs import figures_of, run_bench
from tests.deploy.proxies import SAMPLES
from tests.documents import all_blocks
from tests.nginx import find_nginx
from tests.services import find_tool

from triopoll.settings import settings_from

PAGE = "docs/how-to/from-one-machine-to-many.md"
# One of each that clients depend on.
FAULTS = ("redis-primary", "worker", "node", "slock-leader", "nginx-reload")


def block(title: str) -> str:
    """Return the block of the page that begins with this comment, without it."""
    (found,) = [
        each.text.removeprefix(f"# {title}\n")
        for each in all_blocks()
        if each.page == PAGE and each.text.startswith(f"# {title}\n")
    ]
    return found


@pytest.fixture
def settings() -> dict[str, str]:
    """The variables of the page, with the key file's content in place of its path."""
    lines = block("/etc/triopoll/many.env").splitlines()
    variables = dict(line.split("=", 1) for line in lines)
    assert variables["TRIOPOLL_PUBLISH_KEYS"].startswith("file:")
    return {**variables, "TRIOPOLL_PUBLISH_KEYS": f"shop:{'0' * 64}:*"}


def test_the_settings_are_accepted(settings: dict[str, str]) -> None:
    read: Any = settings_from(settings)
    assert read.redis_url.startswith("redis+sentinel://")


def test_the_settings_name_what_the_steps_start(settings: dict[str, str]) -> None:
    """Each slock server and each Sentinel, with the name and password of Redis."""
    slock = re.findall(r"REPLSET \w+ (\S+)", block("REPLSET, once"))
    assert settings["TRIOPOLL_SLOCK_URL"] == f"slock://{','.join(slock)}"
    redis, sentinel = (
        block(f"{name}.conf on 10.0.0.21") for name in ("redis", "sentinel")
    )
    (password,) = re.findall(r"^requirepass (\S+)$", redis, re.MULTILINE)
    (port,) = re.findall(r"^port (\d+)$", sentinel, re.MULTILINE)
    hosts = ",".join(each.replace(":5658", f":{port}") for each in slock)
    name, primary = re.findall(r"monitor (\S+) (\S+ \d+) 2", sentinel)[0]
    url = f"redis+sentinel://:{password}@{hosts}/{name}/0"
    assert settings["TRIOPOLL_REDIS_URL"] == url
    assert f"auth-pass {name} {password}" in sentinel
    assert f"masterauth {password}" in redis
    replica = block("redis.conf on the other two, one line more")
    assert replica == f"replicaof {primary}\n"


def test_nginx_has_the_nodes_of_the_page() -> None:
    """It never takes one out of service by itself: that stops both, see 0134."""
    (bind,) = re.findall(r"--bind (\S+)", block("triopoll on 10.0.0.11"))
    nodes = {bind, bind.replace(".11:", ".12:")}
    text = (SAMPLES / "nginx.conf").read_text()
    servers = re.findall(r"^ *server (.*);$", text, re.MULTILINE)
    assert set(servers) == {f"{node} max_fails=0" for node in nodes}


@pytest.mark.long
@pytest.mark.timeout(300)
def test_nothing_is_lost_when_one_of_each_is_killed(
    pytestconfig: pytest.Config,
) -> None:
    """Every reader gets every message once, in order, behind the proxy.

    With a real slock, a set of three of them; else the server of trioslock.
    """
    for name in ("redis-sentinel", "redis-cli"):
        find_tool(name)
    find_nginx()
    slock = pytestconfig.getoption("--slock-binary")
    options = ("--slock-binary", slock) if slock else ()
    code, output = run_bench(
        "many.py", *options, "--readers", "16", "--keys", "4", "--faults", *FAULTS
    )
    figures = figures_of(output)
    assert "16 of 16 readers received everything" in output
    assert figures["messages stored"] > 0
    assert figures["lost"] == 0
    assert figures["out of order within a key"] == 0
    assert figures["skipped without a reported gap"] == 0
    assert figures["duplicates with another id"] == 0
    assert figures["received twice without a gap"] == 0
    assert all(figures[fault] == 1 for fault in FAULTS)
    assert code == 0
