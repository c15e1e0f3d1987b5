"""``trioslock info``: what a server says of itself, and servers that are none."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest
import trio
from tests.trioslock.cli.conftest import Command

from trioslock.cli import _info as info
from trioslock.cli import main


@pytest.mark.slow
def test_it_shows_version_role_and_databases(
    command: Command, as_json: Callable[..., Any], key: str
) -> None:
    command("value", "set", "--ttl", "60", key, "x")
    code, text = command("info")
    assert code == 0
    assert " answers in " in text
    assert "role leader" in text
    assert "database 7: " in text
    found = as_json("info")
    assert found["databases"]["7"]["held"] >= 1
    assert found["nodes"][0]["facts"]["version"][0].isdigit()
    assert found["nodes"][0]["error"] is None
    assert found["leader"] is None


@pytest.mark.slow
def test_members_of_a_replica_set_are_asked_each(
    slock_server: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also one that is down."""
    url = f"{slock_server.url},127.0.0.1:1"
    assert main(["info", "--url", url]) == 0
    text = capsys.readouterr().out
    assert "127.0.0.1:1: " in text
    assert "no database is in use" in text
    assert main(["info", "--json", "--url", url]) == 0
    assert f'"leader": "127.0.0.1:{slock_server.port}"' in capsys.readouterr().out


@pytest.mark.slow
def test_a_server_that_is_not_there_is_code_74(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["info", "--url", "slock://127.0.0.1:1"]) == 74
    assert len(capsys.readouterr().err.splitlines()) == 1


async def test_why_a_server_cannot_be_asked() -> None:
    """In the words of the system, not those of trio."""
    node = await info.ask_node(("127.0.0.1", 1))
    assert node.error == "Connection refused"


async def ask(answer: bytes) -> info.Node:
    """Ask a server that gives this answer and closes."""

    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some(100)
            await stream.send_all(answer)

    async with trio.open_nursery() as nursery:
        start: Callable[[], Awaitable[list[trio.SocketListener]]] = partial(
            nursery.start,
            partial(trio.serve_tcp, serve, 0, host="127.0.0.1"),
        )
        listeners = await start()
        port = listeners[0].socket.getsockname()[1]
        node = await info.ask_node(("127.0.0.1", port))
        nursery.cancel_scope.cancel()
    return node


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"", "cut off or too large"),
        (b"$100\r\nversion:1", "cut off or too large"),
        (b"$99999\r\n" + bytes(70_000), "cut off or too large"),
        (b"HTTP/1.1 200 OK\r\n\r\n", "not that of a slock server"),
        (b"$x\r\n", "not that of a slock server"),
        (b"$1000000\r\n", "not that of a slock server"),
    ],
)
async def test_an_answer_of_another_kind_is_an_error(answer: bytes, error: str) -> None:
    node = await ask(answer)
    assert error in str(node.error)
    assert not node.facts


async def test_facts_that_are_not_known_are_left_out() -> None:
    """And an answer may be of any bytes."""
    text = b"# Server\r\nversion:2\r\nrole:\r\nfoo:1\r\n\xff\r\n"
    assert (await ask(b"$%d\r\n%s" % (len(text), text))).facts == {"version": "2"}


async def test_a_server_that_is_silent_is_an_error(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(_host: str, _port: int) -> bytes:
        await trio.sleep_forever()
        raise AssertionError

    monkeypatch.setattr(info, "_info", never)
    assert (await info.ask_node(("::1", 5658))).error == "no answer"
    assert (await info.ask_node(("::1", 5658))).address == "[::1]:5658"
