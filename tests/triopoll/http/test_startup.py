"""Starts that cannot work fail at once, with an error that says what to do."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import trio
from tests.services import find_free_port
from tests.triopoll.service import poll_process

from triopoll.app import Triopoll
from triopoll.server import ServerSettings, open_socket, serve
from triopoll.settings import Settings


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


@pytest.mark.parametrize("silent", ["slock", "both"])
async def test_a_stop_during_the_start_ends_it(
    silent: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Not only when slock has not answered within its limit."""
    caplog.set_level("INFO")
    backend = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
    address = f"127.0.0.1:{backend.socket.getsockname()[1]}"
    settings = Settings(
        slock_url=f"slock://{address}",
        redis_url=f"redis://{address}" if silent == "both" else "memory://",
        backend_limit=1000.0,
    )
    sockets = [open_socket("127.0.0.1:0")]

    async def stop_in_start() -> None:
        async with await backend.accept():
            os.kill(os.getpid(), signal.SIGTERM)
            await trio.sleep_forever()

    with trio.fail_after(60):
        async with backend, trio.open_nursery() as nursery:
            nursery.start_soon(stop_in_start)
            assert await serve(Triopoll(settings), sockets, ServerSettings()) == 0
            nursery.cancel_scope.cancel()
    assert "stopped before the application had started" in caplog.messages
    assert "listening" not in caplog.text


@pytest.mark.long
@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_during_the_start_of_workers(
    workers: str, number: signal.Signals
) -> None:
    """Each worker ends, none announces an address, and no client was cut: it is 0."""
    with socket.create_server(("127.0.0.1", 0)) as backend:
        address = f"127.0.0.1:{backend.getsockname()[1]}"
        process = subprocess.Popen(
            [
                *(script("triopoll"), "serve", "--bind", "127.0.0.1:0"),
                *("--workers", workers),
            ],
            env={
                **os.environ,
                "TRIOPOLL_SLOCK_URL": f"slock://{address}",
                "TRIOPOLL_REDIS_URL": f"redis://{address}",
                "TRIOPOLL_BACKEND_LIMIT": "1000",
            },
            stderr=subprocess.PIPE,
            text=True,
            process_group=0,
        )
        connections = [backend.accept()[0] for _ in range(int(workers))]
        process.send_signal(number)
        try:
            _, log = process.communicate(timeout=60)
        finally:
            process.kill()
        for connection in connections:
            connection.close()
    assert process.returncode == 0, log
    assert "listening" not in log
