"""Findings about slock: embedded, a server, a replica set, a real one."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from tests.services import find_free_port

from triopoll.cli import slock_checks
from triopoll.cli.finding import Finding
from triopoll.cli.slock_checks import check_clock, check_slock, set_findings
from triopoll.settings import Settings
from trioslock import open_client
from trioslock.engine import EngineLimits
from trioslock.link import MemberState, Role, SetState
from trioslock.server import open_server

DOWN = "127.0.0.1:1"


async def check(
    url: str, *, workers: int = 1, running: bool = False, limit: float = 5.0
) -> list[Finding]:
    settings = Settings(slock_url=url)
    return await check_slock(settings, workers=workers, running=running, limit=limit)


def shown(findings: list[Finding]) -> list[tuple[str, str]]:
    return [(finding.verdict, finding.check) for finding in findings]


@pytest.mark.parametrize(
    ("workers", "running", "verdict"),
    [(1, False, "wrong"), (1, True, "right"), (2, False, "wrong")],
)
async def test_the_embedded_engine(workers: int, running: bool, verdict: str) -> None:
    """Its port must be free, unless the service runs; and it serves one process."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        url = f"embedded://127.0.0.1:{sock.getsockname()[1]}"
        (finding,) = await check(url, workers=workers, running=running)
    assert finding.verdict == verdict


async def test_an_embedded_engine_that_can_listen() -> None:
    (finding,) = await check(f"embedded://127.0.0.1:{find_free_port()}")
    assert finding.verdict == "right"


async def test_a_url_that_cannot_be_used() -> None:
    """It names the variable."""
    (finding,) = await check("slock://127.0.0.1:5658/999")
    assert finding.verdict == "wrong"
    assert "TRIOPOLL_SLOCK_URL" in finding.text


async def test_a_server(slock_server: Any) -> None:
    """It answers, grants a lock, and has the time of this machine."""
    found = await check(slock_server.url)
    assert shown(found) == [
        ("right", f"slock 127.0.0.1:{slock_server.port}"),
        ("right", "slock locks"),
        ("right", "slock clock"),
    ]


async def test_nothing_listens() -> None:
    """One line with the reason, and no wait for a lock."""
    (finding,) = await check(f"slock://{DOWN}")
    assert (finding.verdict, finding.text) == ("wrong", "Connection refused")


async def test_a_server_that_answers_nothing() -> None:
    """The limit ends the question."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"slock://127.0.0.1:{silent.getsockname()[1]}"
        (finding,) = await check(url, limit=0.1)
    assert finding.text == "no answer within 0.1 s"


async def test_a_member_that_is_down(slock_server: Any) -> None:
    """A warning: the others serve. Who leads is said."""
    found = await check(f"{slock_server.url},{DOWN}")
    assert shown(found) == [
        ("right", f"slock 127.0.0.1:{slock_server.port}"),
        ("warning", f"slock {DOWN}"),
        ("right", "slock locks"),
        ("right", "slock clock"),
        ("right", "slock replica set"),
    ]
    assert f"127.0.0.1:{slock_server.port} leads, 1 of 2" in found[-1].text


@asynccontextmanager
async def info_server(info: str) -> AsyncIterator[str]:
    """Answer INFO, whatever is asked, and nothing that the client asks later."""
    body = info.encode()
    answer = b"$%d\r\n%b\r\n" % (len(body), body)

    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            asked = await stream.receive_some()
            if asked.startswith(b"*1\r\n$4\r\nINFO"):
                await stream.send_all(answer)
            await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, serve, [listener])
        yield f"slock://127.0.0.1:{listener.socket.getsockname()[1]}"
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("info", "words"),
    [
        ("version:2.1.12\r\nrole:follower", "are not named"),
        ("version:1.0.0\r\nrole:leader", "slock 1.0.0"),
        ("role:leader", "slock ?"),
    ],
)
async def test_what_a_server_says(info: str, words: str) -> None:
    """And a server that says much and grants nothing is wrong."""
    async with info_server(info) as url:
        found = await check(url, limit=0.2)
    assert [finding.verdict for finding in found] == ["warning", "wrong"]
    assert words in found[0].text
    assert "no lock was granted within 0.2 s" in found[1].text


async def test_a_set_without_a_leader() -> None:
    """No member has accepted a connection."""
    async with info_server("version:2.1.12\r\nrole:follower") as url:
        found = await check(f"{url},{DOWN}", limit=0.2)
    assert found[-1].text == "no member says that it leads"


async def test_a_server_that_is_full(slock_full: str) -> None:
    """It answers, and its refusal is shown."""
    found = await check(slock_full)
    assert shown(found)[-1] == ("wrong", "slock locks")


@pytest.fixture
async def slock_full() -> AsyncIterator[str]:
    limits = EngineLimits(keys=1)
    async with open_server("127.0.0.1", 0, engine_limits=limits) as server:
        url = f"slock://{server.address}"
        async with open_client(url) as client:
            async with await client.lock("other").acquire():
                yield url


async def test_a_clock_that_is_wrong(
    slock_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That of slock, as far as this machine can tell."""
    now = slock_checks.time.time
    monkeypatch.setattr(slock_checks.time, "time", lambda: now() + 60)
    finding = (await check(slock_server.url))[-1]
    assert finding.verdict == "warning"
    assert "behind" in finding.text


async def test_a_clock_that_cannot_be_compared(slock_full: str) -> None:
    """It is left out: the lock was refused, or there was no time."""
    async with open_client(slock_full) as client:
        assert await check_clock(client, 5) == []
        assert await check_clock(client, 0) == []


def test_a_member_that_the_url_does_not_name() -> None:
    """It may be the only one that is left one day."""
    members = (
        MemberState(("a", 1), Role.DOWN),
        MemberState(("b", 2), Role.LEADER, learned=True),
    )
    found = set_findings(SetState(("b", 2), ("b", 2), members, 1))
    assert [finding.verdict for finding in found] == ["warning", "right"]
    assert found[0].advice == "add b:2 to the variable"
    assert found[1].text == "b:2 leads, 1 of 2 members answer"


@pytest.mark.live
async def test_a_real_slock(slock_address: tuple[str, int]) -> None:
    """All is right with the version that the service is tested with."""
    found = await check("slock://{}:{}".format(*slock_address))
    assert [finding.verdict for finding in found] == ["right"] * 3
