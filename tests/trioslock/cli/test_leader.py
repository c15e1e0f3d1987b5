"""``trioslock leader``: one of several commands runs, and others take over."""

from __future__ import annotations

import signal

import pytest
import trio
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

from trioslock.cli import main
from trioslock.recipes import Election, Leader
from trioslock.recipes._keys import DEFAULT_LEASE
from trioslock.testing import SlockServer

pytestmark = pytest.mark.slow


def leader(slock: SlockServer, *options: str) -> list[str]:
    return [*TRIOSLOCK, "leader", "--url", slock.url, *options]


def current(slock: SlockServer, key: str) -> Leader | None:
    async def look() -> Leader | None:
        async with slock.open_client() as client:
            return await Election(client, key).current()

    return trio.run(look)


def test_its_code_is_that_of_the_command(slock: SlockServer) -> None:
    """Which gets the fencing token; then another can lead, with a larger one."""
    words = leader(
        slock, "--fence-env", "F", "code", "--", "sh", "-c", "echo $F; exit 4"
    )
    (first, one, _), (second, two, _) = run(*words), run(*words)
    assert (first, second) == (4, 4)
    assert 0 < int(one) < int(two)


def test_followers_see_its_name(slock: SlockServer) -> None:
    words = leader(slock, "--name", "web-1", "named", "sh", "-c", FOREVER)
    with running(*words) as process:
        found = current(slock, "named")
        assert found is not None
        assert found.name == "web-1"
        process.terminate()
        assert rest(process)[0] == 143
    assert current(slock, "named") is None


def test_the_next_one_leads_when_it_is_killed(slock: SlockServer) -> None:
    """Its command ends, and its lease."""
    words = leader(slock, "killed", "sh", "-c", FOREVER)
    with running(*words) as first, started(*words) as second:
        slock.wait_claims("killed", holders=1, waiters=1)
        first.kill()
        assert rest(first)[:2] == (-signal.SIGKILL, "")
        slock.advance(DEFAULT_LEASE + 2)
        wait_for_line(second, "runs")
        second.terminate()
        assert rest(second)[0] == 143


def test_a_loss_ends_the_command(slock: SlockServer) -> None:
    with running(*leader(slock, "lost", "sh", "-c", TRAPPED)) as process:
        slock.lose("lost")
        assert rest(process)[:2] == (75, "TERM\n")


def test_again_leads_again_after_a_loss(slock: SlockServer) -> None:
    """And a command that ends by itself ends it."""
    script = "trap 'echo TERM; exit 5' TERM; trap 'exit 7' USR1; echo runs $F"
    script += "; while :; do sleep 0.02; done"
    words = leader(slock, "--again", "--fence-env", "F", "again", "sh", "-c", script)
    with started(*words) as process:
        first = int(wait_for_line(process, "runs ").split()[1])
        slock.lose("again")
        assert process.stdout is not None
        assert process.stdout.readline() == "TERM\n"
        second = int(wait_for_line(process, "runs ").split()[1])
        assert first < second
        process.terminate()
        assert rest(process)[:2] == (5, "TERM\n")


def test_a_signal_ends_the_candidacy(slock: SlockServer) -> None:
    words = leader(slock, "candidate", "sh", "-c", FOREVER)
    with running(*words) as first, started(*words) as second:
        slock.wait_claims("candidate", holders=1, waiters=1)
        second.terminate()
        assert rest(second) == (143, "", "")
        assert slock.claims("candidate") == (1, 0)
        first.terminate()


def test_the_help_has_the_lease_of_the_recipe(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        main(["leader", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert f"another can lead (default: {DEFAULT_LEASE:g})" in text
