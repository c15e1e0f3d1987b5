"""The page about rotation, run from its first command to its last."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
import trio
from tests.documents import all_blocks, environment, split_assignments
from tests.services import RedisServer
from tests.triopoll.service import (
    Process,
    ask,
    poll_process,
    requesting,
    slock_process,
)
from tests.triopoll.support import eventually

from triopoll.access import entry_for, issue_ticket

PAGE = "docs/how-to/rotate-keys.md"
SETTINGS, *STEPS = (
    block for block in all_blocks() if block.page == PAGE and block.language == "sh"
)
OLD = "the-old-secret-of-this-test-is-long-enough"
PRELUDE = """
set -euo pipefail
systemctl() { [ "$*" = "reload triopoll" ] && kill -HUP $MAIN; }
"""


def run(folder: Path, main: int, number: int) -> None:
    script = "\n".join([PRELUDE, *STEPS[number].commands()])
    subprocess.run(
        ["bash", "-c", script.replace("/etc/triopoll", str(folder))],
        cwd=folder,
        env=environment({"MAIN": str(main)}),
        check=True,
        timeout=60,
    )


def ticket(secret: str) -> str:
    return issue_ticket(secret, ["shop:*"], lifetime=300)


async def publish(service: Process, key: str) -> int:
    body = json.dumps({"key": "shop:1", "data": 1}).encode()
    path = "/v1/publish"
    return (await ask(service.port, path, method="POST", body=body, bearer=key)).status


async def read(service: Process, secret: str) -> int:
    query = {"key": "shop:2", "cursor": "new", "timeout": 0}
    answer = await ask(service.port, "/v1/messages", bearer=ticket(secret), **query)
    return answer.status


def workers_that_say(log: Path, line: str) -> set[str]:
    return set(
        re.findall(rf"(\d+) INFO {re.escape(line)}$", log.read_text(), re.MULTILINE)
    )


def says_one_of(log: Path, *secrets: str) -> bool:
    return any(secret in log.read_text() for secret in secrets)


@pytest.mark.long
async def test_the_page_as_a_script(tmp_path: Path, redis_server: RedisServer) -> None:
    """After each step both workers have read the files; a parked poll goes on."""
    (tmp_path / "keys").write_text(entry_for("shop", "old", ["shop:*"]) + "\n")
    (tmp_path / "ticket-secrets").write_text(OLD + "\n")
    (tmp_path / "revoked").touch()
    settings: dict[str, object] = {}
    for line in SETTINGS.commands():
        for name, value in split_assignments(line)[0].items():
            setting = name.removeprefix("TRIOPOLL_").lower()
            settings[setting] = value.replace("/etc/triopoll", str(tmp_path))
    assert len(settings) == 3
    log = tmp_path / "log"
    with slock_process() as slock, log.open("wb") as output:
        service = poll_process(
            slock=f"slock://127.0.0.1:{slock.port}",
            redis=redis_server.url,
            server="triopoll workers",
            redis_prefix="rotate-keys:",
            **settings,
        )
        service.stderr = output
        with service:
            await check_steps(tmp_path, service, log)


async def check_steps(folder: Path, service: Process, log: Path) -> None:
    async def step(number: int, line: str) -> None:
        run(folder, service.pid, number)
        await eventually(lambda: len(workers_that_say(log, line)) == 2, 20)

    query = {"key": "shop:1", "cursor": "new", "timeout": 55}
    async with requesting(
        service.port, "/v1/messages", bearer=ticket(OLD), **query
    ) as parked:
        await step(0, "TRIOPOLL_PUBLISH_KEYS was read again, keys: 2")
        lines = (folder / "new-key").read_text().splitlines()
        new = lines[0].removeprefix("key:").strip()
        await step(1, "TRIOPOLL_PUBLISH_KEYS was read again, keys: 1")
        assert {await publish(service, "old") for _ in range(6)} == {401}

        await step(2, "TRIOPOLL_TICKET_SECRETS was read again, secrets: 2")
        secret = (folder / "ticket-secrets").read_text().splitlines()[1]
        for each in (OLD, secret):
            assert {await read(service, each) for _ in range(6)} == {200}
        await step(3, "TRIOPOLL_TICKET_SECRETS was read again, secrets: 1")
        assert {await read(service, OLD) for _ in range(6)} == {401}
        assert {await read(service, secret) for _ in range(6)} == {200}

        assert await publish(service, new) == 200
        answer = await parked.answer()
    assert (answer.status, len(answer.json["messages"])) == (200, 1)
    assert not says_one_of(log, OLD, secret, new)


@pytest.mark.long
@pytest.mark.parametrize("server", ["hypercorn", "uvicorn", "granian"])
async def test_under_another_server_a_file_that_changes_is_enough(
    tmp_path: Path, server: str
) -> None:
    keys = tmp_path / "keys"
    keys.write_text(entry_for("shop", "old", ["*"]))
    with poll_process(server=server, publish_keys=f"file:{keys}") as service:
        assert await publish(service, "old") == 200
        (tmp_path / "new").write_text(entry_for("shop", "new", ["*"]))
        (tmp_path / "new").replace(keys)
        with trio.fail_after(30):
            while await publish(service, "new") != 200:
                await trio.sleep(0.2)
        assert await publish(service, "old") == 401
