"""The Durable Streams protocol's own suite, against the service on each store.

Its package is pinned in `conformance/package-lock.json`. Subscriptions are not served,
so its 6 tests of them are not run.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.npm import installed_packages
from tests.services import REQUIRE_TOOLS, RedisServer, find_tool
from tests.triopoll.service import Process, poll_process

SOURCE = Path(__file__).parent / "conformance"
TESTS = 332
# The suite needs no more than half a minute; this is for machines that do much else.
LIMIT = 400
# Two of its tests wait for the end of a long poll, and have 5 seconds.
STREAM_SECONDS = 3
# Vitest does not load on older ones.
OLDEST_NODE = (20, 12)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(LIMIT + 60)]


@pytest.fixture(scope="module")
def node() -> str:
    """A Node that is new enough."""
    path = find_tool("node")
    version = subprocess.run([path, "--version"], capture_output=True, check=True)
    numbers = version.stdout.decode().strip().lstrip("v").split(".")[:2]
    if tuple(map(int, numbers)) < OLDEST_NODE:
        reason = f"node is {'.'.join(numbers)}, and the suite needs 20.12"
        if os.environ.get(REQUIRE_TOOLS):
            pytest.fail(reason)
        pytest.skip(reason)
    return path


@pytest.fixture(scope="module")
def modules(request: pytest.FixtureRequest) -> Path:
    """The suite, as its lock file has it."""
    if (SOURCE / "node_modules").is_dir():
        return SOURCE / "node_modules"
    if not os.environ.get(REQUIRE_TOOLS):
        folder = (
            SOURCE.relative_to(Path.cwd())
            if SOURCE.is_relative_to(Path.cwd())
            else SOURCE
        )
        pytest.skip(f"the suite is not installed: npm ci --prefix {folder}")
    return installed_packages(request.config.cache, SOURCE)


@pytest.fixture(params=["memory", "redis"])
def service(request: pytest.FixtureRequest) -> Iterator[Process]:
    """The service as the suite needs it: it sends all from one address."""
    url = "memory://"
    if request.param == "redis":
        server: RedisServer = request.getfixturevalue("redis_server")
        url = server.url
    process = poll_process(
        redis=url,
        server="triopoll",
        stream_timeout=STREAM_SECONDS,
        requests_per_ip=0,
        cors_origins="*",
    )
    with process:
        yield process


def test_the_suite(node: str, modules: Path, service: Process, tmp_path: Path) -> None:
    """All of its tests pass, and there are as many as there should be."""
    shutil.copy(SOURCE / "streams.test.mjs", tmp_path)
    shutil.copy(SOURCE / "package.json", tmp_path)
    (tmp_path / "node_modules").symlink_to(modules)
    report = tmp_path / "report.json"
    run = subprocess.run(
        [
            *(node, str(modules / "vitest" / "vitest.mjs"), "run"),
            *("--testTimeout", "60000", "--reporter", "json"),
            *("--outputFile", str(report)),
        ],
        cwd=tmp_path,
        env={
            **os.environ,
            "TRIOPOLL_SERVER": f"http://127.0.0.1:{service.port}",
            "TRIOPOLL_STREAM_SECONDS": str(STREAM_SECONDS),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert report.exists(), run.stdout
    found: Any = json.loads(report.read_text())
    failed = [
        "\n".join([test["fullName"], *test["failureMessages"]])
        for file in found["testResults"]
        for test in file["assertionResults"]
        if test["status"] == "failed"
    ]
    assert not failed, "\n\n".join(failed)
    assert found["numPassedTests"] == TESTS
