"""What users of the client call, and what that loads."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from tests.triopoll.client.site import Asked, scripted
from trio.testing import MockClock

from triopoll.client import open_poll_client

# The server's libraries: a client program need not have them.
SERVER_ONLY = {
    *("quart", "quart_trio", "werkzeug", "flask", "hypercorn", "redis", "msgspec"),
    *("httptools", "jwt", "prometheus_client", "trioslock"),
}


def test_importing_the_client_loads_nothing_of_the_server() -> None:
    """Neither its libraries nor its modules."""
    program = "import sys, triopoll.client; print(*sys.modules)"
    command = [sys.executable, "-W", "error", "-c", program]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    loaded = set(run.stdout.split())
    assert "triopoll.client" in loaded
    assert not loaded & SERVER_ONLY
    ours = {name for name in loaded if name.startswith("triopoll.")}
    assert all(name.startswith("triopoll.client") for name in ours)


@pytest.mark.parametrize(
    "arguments", [{"wait": 0}, {"limit": 0}, {"transports": []}, {"transports": ["x"]}]
)
async def test_arguments_out_of_range(arguments: dict[str, Any]) -> None:
    """They are refused before anything is sent."""
    async with open_poll_client("http://localhost") as client:
        with pytest.raises(ValueError, match=r"."):
            client.subscribe("k", **arguments)


async def test_the_url_is_checked() -> None:
    """When the client is opened."""
    with pytest.raises(ValueError, match="http"):
        async with open_poll_client("ftp://localhost"):
            pass


async def test_leaving_the_client_closes_its_connection(
    autojump_clock: MockClock,
) -> None:
    """The one that it has published over."""

    async def store(asked: Asked) -> None:
        results = [{"id": "1", "duplicate": False}]
        await asked.answer({"items": results})

    async with scripted(store) as (client, site):
        assert "scripted" in repr(client)
        await client.publish("k", "v")
        await client.aclose()
        await client.publish("k", "v")
        assert site.state["connections"] == 2
