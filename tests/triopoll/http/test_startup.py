"""Starts that cannot work fail at once, with an error that says what to do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.services import find_free_port
from tests.triopoll.service import poll_process


def fail_to_start(*command: str, **env: str) -> str:
    """Run a server that must exit by itself, and soon; return its output.

    Hypercorn's exit code is 0 even then: it ignores that of its workers.
    """
    done = subprocess.run(
        [*command, "triopoll:app"],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        # As a shell's prompt does, so that no other test is in the process group.
        process_group=0,
    )
    return done.stderr


def hypercorn(*options: str) -> list[str]:
    return [script("hypercorn"), "-b", f"127.0.0.1:{find_free_port()}", *options]


def script(name: str) -> str:
    """Return the path of an installed command."""
    return str(Path(sys.executable).with_name(name))


@pytest.mark.slow
def test_two_workers_on_the_embedded_engine() -> None:
    """The second worker refuses to start: it would have a separate engine."""
    address = f"127.0.0.1:{find_free_port()}"
    said = fail_to_start(
        *hypercorn("-k", "trio", "-w", "2"), TRIOPOLL_SLOCK_URL=f"embedded://{address}"
    )
    assert f"{address} is taken" in said
    assert "Run one worker" in said
    assert f"TRIOPOLL_SLOCK_URL=slock://{address}" in said


@pytest.mark.slow
@pytest.mark.parametrize(
    "server",
    [
        ["hypercorn", "-k", "trio", "-w", "2", "--bind"],
        [*("triopoll", "serve", "--drain-delay", "0", "--workers", "2"), "--bind"],
    ],
)
def test_two_workers_on_messages_in_memory(server: list[str]) -> None:
    """The second worker refuses to start: it would have separate lists."""
    server = [script(server[0]), *server[1:], f"127.0.0.1:{find_free_port()}"]
    said = fail_to_start(
        *server, TRIOPOLL_SLOCK_URL=f"slock://127.0.0.1:{find_free_port()}"
    )
    assert "Run one worker" in said
    assert "TRIOPOLL_REDIS_URL" in said


@pytest.mark.slow
def test_two_services_with_messages_in_memory() -> None:
    """Two services of one worker each do not affect each other."""
    url = f"slock://127.0.0.1:{find_free_port()}"
    with poll_process(slock=url, backend_limit=0.1):
        with poll_process(slock=url, backend_limit=0.1):
            pass


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("TRIOPOLL_MAXTIMEOUT", "5"),
        ("TRIOPOLL_REDIS_URL", "redis://127.0.0.1?socket_timeout=soon"),
    ],
)
def test_a_bad_setting_is_named(variable: str, value: str) -> None:
    """The error names the variable, under each server."""
    env = {"TRIOPOLL_SLOCK_URL": "slock://127.0.0.1:1", variable: value}
    assert variable in fail_to_start(*hypercorn("-k", "trio"), **env)


@pytest.mark.slow
def test_access_that_cannot_be_configured() -> None:
    """An invalid access setting ends the start: it never admits every client."""
    said = fail_to_start(
        *hypercorn("-k", "trio", "-w", "0"),
        TRIOPOLL_SLOCK_URL=f"embedded://127.0.0.1:{find_free_port()}",
        TRIOPOLL_TICKET_SECRETS="hunter2",
    )
    assert "TRIOPOLL_TICKET_SECRETS" in said
    assert "hunter2" not in said
