"""schemathesis checks that the service behaves as its OpenAPI document describes.

It sends examples, boundary values, and generated requests, valid and invalid, over real
sockets. The run is deterministic; its length is the number of examples.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from tests.services import RedisServer
from tests.triopoll.service import Process, poll_process, slock_process

# Generated requests for each operation, beside examples and bounds; more by hand.
EXAMPLES = os.environ.get("TRIOSLOCK_TEST_EXAMPLES", "8")
CONFIGURATION = """
[phases.coverage]
unexpected-methods = ["PUT"]

[[operations]]
# Of three parameters one must be given, which OpenAPI cannot say.
include-operation-id = "get_v1_wait"
checks.positive_data_acceptance.enabled = false

[[operations]]
# Nor that one needs the other, nor that a path may have slashes.
include-path = "/v1/stream/{path}"
checks.positive_data_acceptance.enabled = false
checks.negative_data_rejection.enabled = false
"""
_BOUNDS_OF_CHARACTERS = "negative_data_rejection,positive_data_acceptance"
# Waits must end soon, or a generated timeout is one.
QUICK = {
    "default_timeout": 0.01,
    "max_timeout": 0.01,
    "v1_default_timeout": 0.01,
    "v1_max_timeout": 0.01,
    "stream_timeout": 0.01,
    "sse_lifetime": 0.01,
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
    """Run it in `directory`, which holds its configuration and its output."""
    configuration = directory / "schemathesis.toml"
    configuration.write_text(CONFIGURATION)
    command = (
        *(sys.executable, "-m", "schemathesis.cli"),
        *("--config-file", str(configuration), "run", location),
        *("--url", f"http://127.0.0.1:{port}", "--no-color"),
        *(
            "--generation-deterministic",
            "--max-response-time",
            "5",
            "--warnings",
            "off",
        ),
    )
    return subprocess.run(
        [*command, *options],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


@pytest.mark.long
@pytest.mark.parametrize(
    "options",
    [
        # The description bounds characters and the service bytes; in ASCII they agree.
        # What is refused below /poll/ is answered with 200 as well.
        (
            *("--generation-codec", "ascii", "--phases", "coverage,fuzzing"),
            *("--exclude-path-regex", "^/poll/"),
        ),
        (
            *("--phases", "examples,fuzzing"),
            *("--exclude-checks", _BOUNDS_OF_CHARACTERS),
        ),
    ],
    ids=["bounds", "all of Unicode"],
)
def test_answers_are_as_described(
    described: Process, tmp_path: Path, options: Sequence[str]
) -> None:
    """No request causes a server error; statuses, types and bodies are as described."""
    run = schemathesis(
        f"http://127.0.0.1:{described.port}/openapi.json",
        described.port,
        tmp_path,
        *("--max-examples", EXAMPLES),
        *options,
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
