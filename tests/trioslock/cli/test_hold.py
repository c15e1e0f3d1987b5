"""``trioslock lock`` beside flock(1): each row runs both."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.services import find_tool, wait_for_line
from tests.trioslock.cli.commands import (
    FOREVER,
    TRIOSLOCK,
    rest,
    run,
    running,
    started,
)

from trioslock.cli import main
from trioslock.testing import SlockServer

pytestmark = pytest.mark.slow


class Row(NamedTuple):
    """A command line, what comes of it, and what comes of flock's if that differs.

    ``{lock}`` stands for the command with its options, ``{key}`` for a key or a file,
    ``{end}`` for the ``--`` that flock does not take after its file.
    """

    line: str
    code: int
    output: str = ""
    flock_code: int | None = None
    reason: str = ""


TABLE = {
    "exit code": Row("{lock} {key} {end} sh -c 'exit 3'", 3),
    "success": Row("{lock} {key} {end} true", 0),
    "killed": Row("{lock} {key} {end} sh -c 'kill -KILL $$'", 137),
    "terminated": Row("{lock} {key} {end} sh -c 'kill -TERM $$'", 143),
    "stdin and stdout": Row("{lock} {key} {end} cat", 0, "typed"),
    "closed stdin": Row(
        "{lock} {key} {end} cat <&-",
        1,
        flock_code=0,
        reason="flock's file gets the free descriptor 0, so that it is what cat reads",
    ),
    "no --": Row("{lock} {key} printf %s -- -n", 0, "---n"),
    "no command": Row("{lock} {key}", 2, flock_code=64, reason="as argparse does"),
    "words with --": Row("{lock} {key} {end} printf %s -- x", 0, "--x"),
    "not found": Row("{lock} {key} {end} /no/such", 69),
    "not executable": Row("{lock} {key} {end} {directory}", 69),
    "other key inside": Row("{lock} {key} {end} {lock} {other} {end} true", 0),
    "no wait": Row("{lock} {key} {end} {lock} -n {key} {end} true", 1),
    "conflict code": Row("{lock} {key} {end} {lock} -n -E 9 {key} {end} true", 9),
    # Without the time limit both would wait for themselves for ever.
    "same key inside": Row("{lock} {key} {end} {lock} -w 0.2 {key} {end} true", 1),
    "timeout and code": Row("{lock} {key} {end} {lock} -w 0.2 -E 8 {key} {end} x", 8),
    "freed by the end": Row(
        "{lock} {key} {end} false; {lock} -n {key} {end} echo free", 0, "free\n"
    ),
    "wrong option": Row(
        "{lock} --bogus {key} {end} true", 2, flock_code=64, reason="as argparse does"
    ),
    "wrong timeout": Row(
        "{lock} -w x {key} {end} true", 2, flock_code=64, reason="as argparse does"
    ),
    "timeout of 0": Row(
        "{lock} -w 0 {key} {end} true", 2, flock_code=0, reason="that is --no-wait"
    ),
    "no place for it": Row(
        "{lock} {nowhere} {end} true",
        74,
        flock_code=66,
        reason="a server is not a file that cannot be opened",
    ),
}


@pytest.mark.parametrize("name", TABLE)
def test_it_does_what_flock_does(name: str, slock: SlockServer, tmp_path: Path) -> None:
    """Or the row says why not."""
    row = TABLE[name]
    assert bool(row.reason) == (row.flock_code is not None)
    ours = f"{' '.join(TRIOSLOCK)} lock --url {slock.url}"
    nowhere = f"--url slock://127.0.0.1:1 '{name}'"
    place = {"directory": tmp_path}
    line = row.line.format(
        lock=ours, key=f"'{name}'", other="other", end="--", nowhere=nowhere, **place
    )
    assert run("sh", "-c", line, stdin="typed")[:2] == (row.code, row.output)
    line = row.line.format(
        lock=find_tool("flock"),
        key=tmp_path / "file",
        other=tmp_path / "other",
        end="",
        nowhere="/no/such/file",
        **place,
    )
    code = row.code if row.flock_code is None else row.flock_code
    assert run("sh", "-c", line, stdin="typed")[:2] == (code, row.output)


def commands(slock: SlockServer, key: str, file: Path) -> tuple[list[str], list[str]]:
    """Return the start of a command line of ours, and of flock's."""
    ours = [*TRIOSLOCK, "lock", "--url", slock.url, key, "--"]
    return ours, [find_tool("flock"), str(file)]


def test_a_killed_holder(slock: SlockServer, tmp_path: Path) -> None:
    """Flock's command keeps the lock by the open file; ours ends, and the lock too."""
    ours, flock = commands(slock, "killed", tmp_path / "file")
    with running(*ours, "sh", "-c", FOREVER) as process:
        slock.wait_claims("killed", holders=1)
        process.kill()
        # The output ends with the command, which gets SIGTERM.
        assert rest(process)[0] == -signal.SIGKILL
        slock.advance(30)
        slock.wait_claims("killed", holders=0)
    script = "echo runs; for i in $(seq 25); do sleep 0.02; done; echo went on"
    with running(*flock, "sh", "-c", script) as process:
        process.kill()
        assert process.wait(10) == -signal.SIGKILL
        assert run(flock[0], "-n", flock[1], "true")[0] == 1
        assert rest(process)[1] == "went on\n"


def test_a_sigterm_to_the_holder(slock: SlockServer, tmp_path: Path) -> None:
    """Ours passes it on and exits as the command does; flock dies, its command not."""
    ours, flock = commands(slock, "sigterm", tmp_path / "file")
    script = "trap 'echo TERM; exit 5' TERM; echo runs; for i in $(seq 25); do sleep"
    script += " 0.02; done; echo went on"
    with running(*ours, "sh", "-c", script) as process:
        process.terminate()
        assert rest(process)[:2] == (5, "TERM\n")
    with running(*flock, "sh", "-c", script) as process:
        process.terminate()
        assert process.wait(10) == -signal.SIGTERM
        # The lock is still held.
        assert run(flock[0], "-n", flock[1], "true")[0] == 1
        assert rest(process)[1] == "went on\n"


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_while_it_waits(
    slock: SlockServer, tmp_path: Path, signum: signal.Signals
) -> None:
    """Shells show the same code; ours withdraws its wait before it exits."""
    key = signum.name
    ours, flock = commands(slock, key, tmp_path / "file")
    with running(*ours, "sh", "-c", FOREVER) as holder:
        with started(*ours, "echo", "runs") as waiter:
            slock.wait_claims(key, holders=1, waiters=1)
            waiter.send_signal(signum)
            assert rest(waiter) == (128 + signum, "", "")
            assert slock.claims(key).waiters == 0
        holder.terminate()
    with running(*flock, "sh", "-c", FOREVER) as holder:
        verbose = "echo ready; exec "
        line = f"{verbose}{' '.join(flock)} echo runs"
        with started("sh", "-c", line) as waiter:
            wait_for_line(waiter, "ready")
            waiter.send_signal(signum)
            code, output, _ = rest(waiter)
            assert (code, output) == (-signum, "")
        holder.kill()


def test_it_waits_for_its_turn(slock: SlockServer) -> None:
    ours = [*TRIOSLOCK, "lock", "--url", slock.url, "turn", "--"]
    with running(*ours, "sh", "-c", FOREVER) as holder:
        with started(*ours, "echo", "mine") as waiter:
            slock.wait_claims("turn", holders=1, waiters=1)
            holder.terminate()
            assert rest(waiter)[:2] == (0, "mine\n")


def test_a_fencing_token_is_in_the_environment_and_grows(slock: SlockServer) -> None:
    words = [*TRIOSLOCK, "lock", "--url", slock.url, "--fence-env", "FENCE", "f", "--"]
    tokens = [int(run(*words, "sh", "-c", "echo $FENCE")[1]) for _ in range(2)]
    assert 0 < tokens[0] < tokens[1]


def test_a_semaphore_has_as_many_holders_as_permits(slock: SlockServer) -> None:
    words = f"{' '.join(TRIOSLOCK)} semaphore --url {slock.url} -n permits 2 --"
    inner = f"{words} sh -c '{words} true; echo $?'"
    assert run(*words.split(), "sh", "-c", inner)[:2] == (0, "1\n")


def test_the_limit_is_for_connecting_too(slock: SlockServer) -> None:
    """A server that does not answer is no conflict, whatever -E says."""
    slock.freeze()
    try:
        code = main(
            ["lock", "--url", slock.url, "-w", "0.2", "-E", "0", "k", "--", "true"]
        )
    finally:
        slock.heal()
    assert code == 74


def test_a_server_that_is_not_there_is_one_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["lock", "--url", "slock://127.0.0.1:1", "k", "--", "true"]
    assert main(words) == 74
    (line,) = capsys.readouterr().err.splitlines()
    assert "cannot connect" in line


@pytest.mark.parametrize("permits", ["0", "65536", "x"])
def test_permits_are_a_number(permits: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["semaphore", "k", permits, "--", "true"])
    assert caught.value.code == 2
    assert "is not a whole number from 1 to 65535" in capsys.readouterr().err
