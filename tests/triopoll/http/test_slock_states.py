"""Each change of state of slock is one line in the service's log."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.services import find_free_port
from tests.triopoll.service import Process, poll_process, slock_process
from tests.triopoll.support import eventually

pytestmark = pytest.mark.slow

REFUSED = "Connection refused"
# Until there is another attempt to connect.
CLOSED = f"(?:{REFUSED}|.*the server closed the connection)"
AGAIN = r"answers again after \d+ s"


class Log:
    """What the service has logged of slock."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def lines(self) -> list[str]:
        text = self._path.read_text()
        return re.findall(r"WARNING (slock at .*)", text)

    async def has(self, *patterns: str) -> None:
        """Wait for as many lines; each must match its pattern."""
        await eventually(lambda: len(self.lines()) >= len(patterns), limit=30)
        lines = self.lines()
        assert len(lines) == len(patterns), lines
        for line, pattern in zip(lines, patterns, strict=True):
            assert re.fullmatch(f"slock at {pattern}", line), line


@pytest.fixture
def slock() -> Iterator[Process]:
    slock = slock_process()
    yield slock
    slock.kill()


@pytest.mark.parametrize("hosts", [pytest.param(1, marks=pytest.mark.long), 2])
async def test_each_change_of_slock(tmp_path: Path, slock: Process, hosts: int) -> None:
    """With its address and the reason: not up yet, up, killed, up again, frozen."""
    ports = [slock.port, *(find_free_port() for _ in range(hosts - 1))]
    address = ",".join(f"127.0.0.1:{port}" for port in ports)
    down = f"{address} does not answer: "
    away, closed = f"{down}{REFUSED}", f"{down}{CLOSED}"
    if hosts == 2:
        member = rf"{down}.*127\.0\.0\.1:{slock.port} is down "
        away, closed = rf"{member}\({REFUSED}\).*", rf"{member}\({CLOSED}\).*"
    service = poll_process(
        slock=f"slock://{address}/3", server="triopoll", backend_limit=2
    )
    log = Log(tmp_path / "log")
    with (tmp_path / "log").open("wb") as service.stderr, service:
        expected = [away]
        await log.has(*expected)
        slock.start()
        await log.has(*expected, again := f"{address} {AGAIN}")
        slock.kill()
        expected += [again, closed]
        await log.has(*expected)
        slock.start()
        expected += [again]
        await log.has(*expected)
        slock.freeze()
        expected += [f"{down}no answer within 1.2 s"]
        await log.has(*expected)
        slock.thaw()
        await log.has(*expected, again)


def test_a_password_is_not_logged() -> None:
    """A URL that slock cannot have is refused without being repeated."""
    env = {**os.environ, "TRIOPOLL_SLOCK_URL": "slock://app:SECRET@127.0.0.1:1"}
    command = ["triopoll", "serve", "--bind", f"127.0.0.1:{find_free_port()}"]
    ended = subprocess.run(
        [sys.executable, "-m", *command],
        env=env,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 3
    assert b"TRIOPOLL_SLOCK_URL: slock has no users" in ended.stderr
    assert b"SECRET" not in ended.stderr
