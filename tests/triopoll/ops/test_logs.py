"""Log lines: one a record, and nothing secret in them."""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import trio
from tests.services import RedisServer, find_free_port
from tests.triopoll.service import Service, ask, requesting

from triopoll.ops.logs import fields_of, set_up_logs


@contextlib.contextmanager
def quiet_root() -> Iterator[None]:
    """Take the root logger's handlers away, and put all back as it was."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    root.handlers.clear()
    try:
        yield
    finally:
        root.handlers[:] = before
        root.setLevel(level)


def log_hostile(capsys: pytest.CaptureFixture[str], form: Any) -> list[str]:
    with quiet_root():
        set_up_logs(form)
        log = logging.getLogger("triopoll.test")
        log.info("a path: %s", "/x\n2026 1 INFO forged\x1b[2J\u2028é")
        try:
            raise ValueError("first\n2026 1 INFO forged")
        except ValueError:
            log.exception("it failed", extra=fields_of(path="/y", seconds=1.5))
        log.debug("below the level")
    return capsys.readouterr().err.splitlines()


def test_text(capsys: pytest.CaptureFixture[str]) -> None:
    """No line begins with what a client has sent, and control characters are named."""
    first, second, *traceback = log_hostile(capsys, "text")
    assert re.fullmatch(
        r"[-\d]{10} [:\d]{8},\d{3} \d+ INFO "
        r"a path: /x\\n2026 1 INFO forged\\x1b\[2J\\u2028é",
        first,
    )
    assert second.endswith("ERROR it failed")
    assert traceback
    assert all(line.startswith("  ") for line in traceback)


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    """Each line is an object with the documented fields."""
    first, second = map(json.loads, log_hostile(capsys, "json"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", first.pop("time"))
    assert first == {
        "level": "info",
        "logger": "triopoll.test",
        "process": os.getpid(),
        "message": "a path: /x\n2026 1 INFO forged\x1b[2J\u2028é",
    }
    assert (second["path"], second["seconds"]) == ("/y", 1.5)
    assert "ValueError: first\n2026 1 INFO forged" in second["traceback"]


class LoggedService(Service):
    """The service with its standard error in a file."""

    def __init__(self, log: Path, *options: str, **env: str) -> None:
        command = ["triopoll", "serve", "--bind", "127.0.0.1:PORT", *options]
        super().__init__(command, env)
        self._log = log

    def start(self) -> None:
        with self._log.open("ab") as self.stderr:
            super().start()

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._log.read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
async def test_requests_are_logged_without_what_is_secret(
    redis_server: RedisServer, tmp_path: Path, workers: str
) -> None:
    """Neither data nor tickets nor keys, whatever happens; every line is JSON."""
    secret = "s3cr3t"
    slock_port = find_free_port()
    options = ["--workers", workers, "--drain-delay", "0"]
    options += ["--log-format", "json", "--access-log"]
    env = {
        # Nothing listens there: waits fail.
        "TRIOPOLL_SLOCK_URL": f"slock://127.0.0.1:{slock_port}",
        "TRIOPOLL_REDIS_URL": redis_server.url,
        "TRIOPOLL_BACKEND_LIMIT": "0.2",
    }
    log = tmp_path / "log"
    encoded = base64.b64encode(secret.encode()).decode()
    with LoggedService(log, *options, **env) as service:
        with redis.Redis(port=redis_server.port) as client:
            client.rpush(f"{secret}-list", secret)
            client.set(f"{secret}-text", secret)
        port = service.port
        for path in ("/poll/event", "/poll/message", "/metrics", "/%0anothing"):
            for key in ("list", "text", "%ff", "none"):
                query = f"event={secret}-{key}&ticket={secret}&timeout=0.1"
                await ask(port, path, query.encode())
        async with requesting(port, "/poll/message", event=secret) as request:
            await request.reset()
        os.kill(service.pid, signal.SIGTERM)
        with trio.fail_after(10):
            while "draining" not in log.read_text():  # noqa: ASYNC240
                await trio.sleep(0.05)
    text = log.read_text()  # noqa: ASYNC240
    assert secret not in text
    assert encoded not in text
    lines = service.lines()
    fields = {"time", "level", "logger", "process", "message"}
    assert all(fields <= line.keys() for line in lines)
    requests = [line for line in lines if line["logger"] == "triopoll.requests"]
    paths = [line["path"] for line in requests]
    assert paths.count("/poll/event") == 4
    assert paths.count("/\nnothing") == 4
    polls = [line for line in requests if line["path"] == "/poll/event"]
    for line in polls:
        assert (line["peer"], line["method"]) == ("127.0.0.1", "GET")
        assert line["status"] == 200
        assert 0 <= line["seconds"] < 5


@pytest.mark.slow
async def test_requests_are_not_logged_unless_asked_for(tmp_path: Path) -> None:
    """By default the log has only the lines of the server itself."""
    slock = f"embedded://127.0.0.1:{find_free_port()}"
    log = tmp_path / "log"
    options = ["--drain-delay", "0", "--log-format", "json"]
    with LoggedService(log, *options, TRIOPOLL_SLOCK_URL=slock) as service:
        await ask(service.port, "/livez")
    assert {line["logger"] for line in service.lines()} <= {
        "triopoll",
        "triopoll.access",
        "triopoll.server.server",
        "triopoll.server.supervisor",
    }
