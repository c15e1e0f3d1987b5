"""The commands that hold a key, on a real slock, with the holder killed and frozen."""

from __future__ import annotations

import secrets
import signal

import pytest
from tests.services import wait_for_line
from tests.trioslock.cli.commands import (
    FOREVER,
    TRAPPED,
    TRIOSLOCK,
    rest,
    run,
    running,
    started,
)

pytestmark = [pytest.mark.slow, pytest.mark.live]

LEASE = ("--lease", "2")


@pytest.fixture(params=["lock", "semaphore", "leader"])
def words(request: pytest.FixtureRequest, slock_address: tuple[str, int]) -> list[str]:
    """A command line up to the words of the command, with a new key."""
    host, port = slock_address
    name = request.param
    permits = ["1"] if name == "semaphore" else []
    words = [*TRIOSLOCK, name, "--url", f"slock://{host}:{port}", *LEASE]
    return [*words, secrets.token_hex(8), *permits]


def test_the_exit_code_is_that_of_the_command(words: list[str]) -> None:
    """And it is free afterwards."""
    for _ in range(2):
        assert run(*words, "sh", "-c", "exit 3")[0] == 3


def test_a_killed_holder(words: list[str]) -> None:
    """Its command ends, and another one runs."""
    with running(*words, "sh", "-c", FOREVER) as holder:
        with started(*words, "sh", "-c", TRAPPED) as waiter:
            holder.kill()
            assert rest(holder)[:2] == (-signal.SIGKILL, "")
            wait_for_line(waiter, "runs")
            waiter.terminate()
            assert rest(waiter)[:2] == (5, "TERM\n")


def test_a_frozen_holder(words: list[str]) -> None:
    """Another one gets it; when the holder goes on, it ends its command."""
    with running(*words, "sh", "-c", TRAPPED) as holder:
        with started(*words, "sh", "-c", TRAPPED) as waiter:
            holder.send_signal(signal.SIGSTOP)
            wait_for_line(waiter, "runs")
            holder.send_signal(signal.SIGCONT)
            assert rest(holder)[:2] == (75, "TERM\n")
            waiter.terminate()
            assert rest(waiter)[0] == 5


def test_no_wait_and_a_time_limit(slock_address: tuple[str, int]) -> None:
    """A conflict is 1, and the held key is freed by the end of the command."""
    url = "slock://{}:{}".format(*slock_address)
    key = secrets.token_hex(8)
    lock = [*TRIOSLOCK, "lock", "--url", url]
    with running(*lock, key, "sh", "-c", FOREVER) as holder:
        assert run(*lock, "-n", key, "true")[0] == 1
        assert run(*lock, "-w", "0.2", "-E", "7", key, "true")[0] == 7
        holder.terminate()
        assert rest(holder)[0] == 143
    assert run(*lock, "-n", key, "true")[0] == 0
