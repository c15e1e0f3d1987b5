"""The examples of triopoll beside other applications, under the servers they name."""

from __future__ import annotations

import http.client
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from tests.services import find_free_port
from tests.triopoll.service import LIMIT, Service, ask, requesting

EXAMPLES = Path(__file__).parents[3] / "examples" / "triopoll"
SERVERS = {
    "hypercorn": ["hypercorn", "-k", "trio", "-w", "0", "-b", "127.0.0.1:PORT"],
    "triopoll": ["triopoll", "serve", "--drain-delay", "0", "--bind", "127.0.0.1:PORT"],
    "uvicorn": ["uvicorn", "--port", "PORT", "--log-level", "warning"],
}


def example(name: str, server: str) -> Service:
    """An example, not started yet."""
    return Service(
        [*SERVERS[server], f"{name}:app"],
        {
            "PYTHONPATH": os.pathsep.join(
                [str(EXAMPLES), os.environ.get("PYTHONPATH", "")]
            ),
            "TRIOPOLL_SLOCK_URL": f"embedded://127.0.0.1:{find_free_port()}",
            "TRIOPOLL_REDIS_URL": "memory://",
        },
    )


async def push_works(port: int, below: str) -> None:
    """A message is published and waited for; errors have the documented shape."""
    key = b"key=orders.17&cursor=all&timeout=5"
    async with requesting(port, f"{below}/v1/messages", key) as waiting:
        published = await ask(
            port,
            f"{below}/v1/publish",
            method="POST",
            body=b'{"key":"orders.17","data":"paid"}',
        )
        assert published.status == 200
        (message,) = (await waiting.answer()).json["messages"]
    assert message["data"] == "paid"
    unknown = await ask(port, f"{below}/v1/nothing")
    assert (unknown.status, unknown.json["code"]) == (404, "not_found")
    assert (await ask(port, f"{below}/readyz")).json["ready"]


@pytest.mark.slow
@pytest.mark.parametrize("server", SERVERS)
async def test_routes_of_your_own(server: str) -> None:
    """A route and a blueprint beside the endpoints."""
    with example("own_routes", server) as service:
        hello = await ask(service.port, "/hello")
        assert hello.json == {"hello": "this is a route of your own"}
        page = await ask(service.port, "/orders/17")
        assert page.status == 200
        assert b"key=orders.17" in page.body
        assert page.headers["x-content-type-options"] == "nosniff"
        await push_works(service.port, "")


@pytest.fixture(
    params=["below_fastapi uvicorn", "below_quart hypercorn", "below_quart triopoll"]
)
def mounted(request: pytest.FixtureRequest) -> Iterator[Service]:
    with example(*request.param.split()) as service:
        yield service


def get_kept_alive(port: int, path: str) -> tuple[int, bytes]:
    """Get status and body of a page over a connection that stays open.

    Quart-Trio of the site, on Hypercorn, closes none: it cancels its own last send.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LIMIT)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


@pytest.mark.slow
async def test_below_another_application(mounted: Service) -> None:
    """Below its path; the other application has the rest; it stops in order."""
    hello = await trio.to_thread.run_sync(get_kept_alive, mounted.port, "/hello")
    assert b"triopoll is below /push" in hello[1]
    await push_works(mounted.port, "/push")
    other = await trio.to_thread.run_sync(get_kept_alive, mounted.port, "/v1/wait")
    assert other[0] == 404
