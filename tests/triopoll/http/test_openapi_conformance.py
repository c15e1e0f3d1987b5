"""schemathesis asks what the description promises, and holds the service to it.

It sends examples, bounds, and generated requests, good and bad, over real sockets. The
run is deterministic and as long as its number of examples.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.services import RedisServer
from tests.triopoll.service import Process, poll_process, slock_process

EXAMPLES = 40
# An operation that must be given one of three parameters, which OpenAPI cannot say.
ONE_OF_THREE = "operation-id=get_v1_wait"
# Waits must end soon, or a generated timeout is one.
QUICK = {
    "default_timeout": 0.01,
    "max_timeout": 0.01,
    "v1_default_timeout": 0.01,
    "v1_max_timeout": 0.01,
    # The description bounds characters, the service bytes.
    "max_key_bytes": 1024,
}


@pytest.fixture(scope="module")
def described(redis_server: RedisServer) -> Iterator[Process]:
    with slock_process() as slock:
        url = f"slock://127.0.0.1:{slock.port}"
        service = poll_process(
            slock=url, redis=redis_server.url, server="triopoll", **QUICK
        )
        with service:
            yield service


def schemathesis(
    location: str, port: int, directory: Path, *options: str
) -> subprocess.CompletedProcess[str]:
    """Run it, with `directory` for what it leaves behind."""
    command = (
        *(sys.executable, "-m", "schemathesis.cli", "run", location),
        *("--url", f"http://127.0.0.1:{port}", "--no-color"),
        *("--phases", "examples,coverage,fuzzing", "--generation-deterministic"),
        *("--max-response-time", "5", "--warnings", "off"),
    )
    return subprocess.run(
        [*command, *options],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.slow
def test_answers_are_as_described(described: Process, tmp_path: Path) -> None:
    """Whatever is asked: no server error, and statuses, types and bodies as told."""
    for options in (
        ("--exclude-checks", "negative_data_rejection", f"--exclude-{ONE_OF_THREE}"),
        (
            *("--exclude-checks", "negative_data_rejection,positive_data_acceptance"),
            f"--include-{ONE_OF_THREE}",
        ),
    ):
        run = schemathesis(
            f"http://127.0.0.1:{described.port}/openapi.json",
            described.port,
            tmp_path,
            *("--checks", "all", *options),
            *("--max-examples", str(EXAMPLES)),
        )
        assert run.returncode == 0, run.stdout
        assert "No issues found" in run.stdout


@pytest.mark.slow
def test_an_answer_that_is_not_as_described_is_found(
    described: Process, tmp_path: Path
) -> None:
    """The run can fail."""
    answer = {"type": "object", "required": ["lives"]}
    content = {"application/json": {"schema": answer}}
    responses = {"200": {"description": "", "content": content}}
    shape = {
        "openapi": "3.1.0",
        "info": {"title": "t", "version": "1"},
        "paths": {"/livez": {"get": {"responses": responses}}},
    }
    path = tmp_path / "openapi.json"
    path.write_text(json.dumps(shape))
    run = schemathesis(str(path), described.port, tmp_path, "--max-examples", "1")
    assert run.returncode == 1, run.stdout
    assert "'lives' is a required property" in run.stdout.replace('"', "'")
