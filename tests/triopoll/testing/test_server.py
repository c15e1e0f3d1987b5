"""The service in a thread: published, read, waited for, and ended."""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest
import trio

import trioslock
from triopoll import Triopoll
from triopoll.server import StartupFailed
from triopoll.testing import TriopollServer, open_settings, open_triopoll_server


def poll(server: TriopollServer, timeout: int) -> dict[str, object]:
    url = f"{server.url}/v1/messages?key=k&cursor=all&timeout={timeout}"
    with urllib.request.urlopen(url, timeout=30) as response:
        page: dict[str, object] = json.load(response)
    return page


def until_parked(server: TriopollServer, app: Triopoll) -> None:
    ends_at = time.monotonic() + 10
    while not server._thread.call(lambda: app.drain.parked):
        assert time.monotonic() < ends_at
        time.sleep(0.002)


@pytest.mark.triopoll(metrics_from="any")
def test_what_is_published_can_be_read(triopoll_server: TriopollServer) -> None:
    """Any JSON value; one with the same id is stored once."""
    for _ in range(2):
        item = triopoll_server.publish("k", {"n": 1}, id="one")
    assert item["duplicate"]
    triopoll_server.publish("k", "two")
    assert triopoll_server.messages("k") == [{"n": 1}, "two"]
    assert triopoll_server.messages("other") == []
    assert repr(triopoll_server) == f"<TriopollServer {triopoll_server.url}>"
    with pytest.raises(AssertionError, match="404"):
        triopoll_server.request("GET", "/nothing")


async def test_its_slock_server_is_shared(triopoll_server: TriopollServer) -> None:
    """Locks of the program under test may be on it."""
    async with trioslock.open_client(triopoll_server.slock_url) as client:
        async with client.lock("k"):
            await trio.lowlevel.checkpoint()


def test_a_wait_ends_by_the_clock_of_the_service(
    triopoll_server: TriopollServer, triopoll_app: Triopoll
) -> None:
    """Without waiting for it; the connection to slock stays."""
    triopoll_server.stop_clock()
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(poll, triopoll_server, 50)
        until_parked(triopoll_server, triopoll_app)
        triopoll_server.advance(51)
        page = answer.result(10)
    assert page["messages"] == []
    assert page["code"] == "timeout"


def test_a_parked_wait_is_answered_at_the_end() -> None:
    """And no thread is left."""
    with open_settings() as settings, ThreadPoolExecutor() as pool:
        app = Triopoll(settings)
        with open_triopoll_server(app, settings) as server:
            answer = pool.submit(poll, server, 50)
            until_parked(server, app)
        assert answer.result(10)["messages"] == []
    names = [each.name for each in threading.enumerate()]
    assert "triopoll test server" not in names


def test_a_service_that_refuses_to_start_says_why() -> None:
    """As `triopoll serve` does."""
    with open_settings(ticket_secrets="short") as settings:
        with pytest.raises(StartupFailed, match="TRIOPOLL_TICKET_SECRETS"):
            with open_triopoll_server(Triopoll(settings), settings):
                pytest.fail("it has started")
