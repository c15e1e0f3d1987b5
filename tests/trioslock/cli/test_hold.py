"""``trioslock lock`` beside flock(1): each row runs both."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.services import wait_for_line
from tests.trioslock.server.programs import serving

pytestmark = pytest.mark.slow

LOCK = [sys.executable, "-m", "trioslock", "lock"]
FLOCK = shutil.which("flock")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving() as (_, (host, port)):
        yield f"slock://{host}:{port}"


def run(*words: str, stdin: str = "") -> tuple[int, str, str]:
    done = subprocess.run(
        words, input=stdin, capture_output=True, text=True, timeout=30, check=False
    )
    return done.returncode, done.stdout, done.stderr


# {lock} stands for the locking command with its options and key, for a nested one.
TABLE: dict[str, tuple[str, int, str]] = {
    "exit code": ("exit 3", 3, ""),
    "success": ("true", 0, ""),
    "killed by a signal": ("kill -KILL $$", 137, ""),
    "stdin and stdout": ("cat", 0, "typed"),
    "nested, no wait": ("{lock} -n {key} {end} true", 1, ""),
    "nested, conflict code": ("{lock} -n -E 9 {key} {end} true", 9, ""),
    "nested, timeout": ("{lock} -w 0.2 {key} {end} true", 1, ""),
    "nested, timeout and code": ("{lock} -w 0.2 -E 8 {key} {end} true", 8, ""),
}


@pytest.mark.skipif(FLOCK is None, reason="flock(1) is not installed")
@pytest.mark.parametrize("row", TABLE)
def test_it_does_what_flock_does(row: str, url: str, tmp_path: Path) -> None:
    script, code, output = TABLE[row]
    ours = [*LOCK, "--url", url]
    for words, key, end in (
        (ours, row, "--"),
        (["flock"], str(tmp_path / "file"), ""),
    ):
        text = script.format(lock=" ".join(words), key=f"'{key}'", end=end)
        command = [*words, key, *end.split(), "sh", "-c", text]
        assert run(*command, stdin="typed")[:2] == (code, output)


@pytest.mark.skipif(FLOCK is None, reason="flock(1) is not installed")
def test_a_command_that_is_not_found_is_69_as_with_flock(
    url: str, tmp_path: Path
) -> None:
    code, _, error = run(*LOCK, "--url", url, "k", "--", "/no/such")
    assert (code, error) == (69, "trioslock: /no/such: No such file or directory\n")
    assert run("flock", str(tmp_path / "file"), "/no/such")[0] == 69


def test_a_fencing_token_is_in_the_environment_and_grows(url: str) -> None:
    words = [*LOCK, "--url", url, "--fence-env", "FENCE", "fenced", "--"]
    tokens = [int(run(*words, "sh", "-c", "echo $FENCE")[1]) for _ in range(2)]
    assert tokens[0] < tokens[1]


def test_a_semaphore_has_as_many_holders_as_permits(url: str) -> None:
    words = f"{sys.executable} -m trioslock semaphore --url {url} -n permits 2 --"
    inner = f"{words} sh -c '{words} true; echo $?'"
    assert run(*words.split(), "sh", "-c", inner)[:2] == (0, "1\n")


@pytest.mark.parametrize(
    ("address", "code", "text"),
    [
        ("slock://127.0.0.1:1", 74, "cannot connect"),
    ],
)
def test_a_server_that_is_not_there_is_one_line(
    address: str, code: int, text: str
) -> None:
    found, _, error = run(*LOCK, "--url", address, "k", "--", "true")
    assert found == code
    assert text in error
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize("word", ["0", "-1", "inf", "x"])
def test_a_wrong_number_of_seconds_is_a_usage_error(word: str) -> None:
    code, _, error = run(*LOCK, "-w", word, "k", "--", "true")
    assert code == 2
    assert "is not a number of seconds above 0" in error


def held(url: str, *options: str, script: str) -> subprocess.Popen[str]:
    """Start a command under a lock; return when the command runs."""
    words = [*LOCK, "--url", url, *options, "held", "--", "sh", "-c", script]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    wait_for_line(process, "runs")
    return process


def test_a_sigterm_reaches_the_command(url: str) -> None:
    """Flock differs: it dies, and its child goes on with the lock."""
    script = "trap 'exit 5' TERM; echo runs; while :; do sleep 0.05; done"
    with held(url, script=script) as process:
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 5


def test_the_command_ends_when_its_parent_is_killed(url: str) -> None:
    """Flock differs: the child inherits the file, and so the lock."""
    with held(url, script="echo runs; exec sleep 60") as process:
        process.kill()
        # The pipe ends when the last process that has it is gone.
        assert process.stdout is not None
        assert process.stdout.read() == ""
        assert process.wait(10) == -signal.SIGKILL


@pytest.mark.parametrize(
    ("mode", "last"), [("term", "ended\n"), ("kill", ""), ("ignore", "whole\n")]
)
def test_a_lost_lock_ends_the_command(mode: str, last: str) -> None:
    """The server is killed; the lease of a second ends, and the exit code is 75."""
    script = "trap 'echo ended; exit' TERM; echo runs; for i in $(seq 60)"
    script += "; do sleep 0.05; done; echo whole"
    with serving() as (server, (host, port)):
        options = ("--lease", "1", "--on-lost", mode)
        with held(f"slock://{host}:{port}", *options, script=script) as process:
            server.kill()
            server.wait()
            assert process.stdout is not None
            assert process.stdout.read() == last
            assert process.wait(20) == 75
