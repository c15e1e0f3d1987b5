"""A browser's own EventSource reads the messages of a key, over faults in between."""

from __future__ import annotations

import json
import os
import signal
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from tests.services import RedisServer
from tests.triopoll.http.test_live_messages import workers_of
from tests.triopoll.pages.browser import Tab
from tests.triopoll.pages.conftest import OpenTab
from tests.triopoll.service import Process, poll_process, slock_process

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

# What the page of docs/how-to/stream-messages.md does, with what it gets kept.
START = """
window.got = [];
window.others = [];
window.source = new EventSource(arguments[0]);
source.onmessage = (event) => {
  const { data, id } = JSON.parse(event.data);
  if (id !== event.lastEventId) throw new Error("the id is not the message's");
  got.push(data);
};
for (const kind of ["cursor", "gap", "end"]) {
  source.addEventListener(kind, (event) => {
    others.push([kind, JSON.parse(event.data)]);
  });
}
"""


@pytest.fixture
def workers(redis_server: RedisServer) -> Iterator[Process]:
    """Two workers, whose streams last for two seconds."""
    with slock_process() as slock:
        url = f"slock://127.0.0.1:{slock.port}"
        service = poll_process(
            slock=url,
            redis=redis_server.url,
            server="triopoll workers",
            sse_lifetime=2,
            sse_ping=0.5,
        )
        with service:
            yield service


def publish(service: Process, *data: object) -> None:
    items = [{"key": "k", "data": each, "id": str(each)} for each in data]
    request = urllib.request.Request(
        f"http://127.0.0.1:{service.port}/v1/publish",
        json.dumps({"items": items}).encode(),
    )
    with urllib.request.urlopen(request, timeout=20) as response:
        assert response.status in (200, 202)


def begin(tab: Tab, service: Process, query: str) -> None:
    """Start the stream from a page of the service itself."""
    tab.open(f"http://127.0.0.1:{service.port}/")
    tab.run(START, f"/v1/messages?live=sse&key=k&{query}")


def got(tab: Tab) -> list[Any]:
    found: list[Any] = tab.run("return got")
    return found


def ends(tab: Tab) -> list[Any]:
    return [data["code"] for kind, data in tab.run("return others") if kind == "end"]


def test_messages_come_over_ends_and_killed_workers(
    open_tab: OpenTab, workers: Process
) -> None:
    """All of them, once each, in order; the text of one poses as events."""
    tab = open_tab(unreachable=True)
    begin(tab, workers, "cursor=new")
    tab.until(lambda: tab.run("return others.length") > 0)
    hostile = "x\r\n\r\nevent: end\rdata: {}\n\nid: 1\n\n"
    publish(workers, 0, hostile)
    expected: list[object] = [0, hostile]
    tab.until(lambda: got(tab) == expected)
    tab.until(lambda: "timeout" in ends(tab))
    # Meanwhile the browser may be between two connections.
    publish(workers, 1, 2)
    expected += [1, 2]
    tab.until(lambda: got(tab) == expected)
    for number in (3, 4):
        for worker in workers_of(workers.pid):
            os.kill(worker, signal.SIGKILL)
        tab.until(lambda: len(workers_of(workers.pid)) == 2)
        tab.until(lambda number=number: publish(workers, number) is None)
        expected.append(number)
        tab.until(lambda: got(tab) == expected)
    assert set(ends(tab)) == {"timeout"}
    tab.run("source.close()")


def test_a_refusal_ends_it(open_tab: OpenTab, workers: Process) -> None:
    """A browser does not come back after a status that is not 200."""
    tab = open_tab(unreachable=True)
    begin(tab, workers, "cursor=wrong")
    tab.until(lambda: tab.run("return source.readyState") == 2)
    assert [each for each in tab.logs() if "400" not in each] == []
