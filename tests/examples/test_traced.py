"""The example with spans, under the servers that its page names."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
import trio
from tests.services import find_free_port
from tests.triopoll.service import Service, ask, requesting
from tests.triopoll.support import eventually

pytest.importorskip("opentelemetry.instrumentation.asgi")
EXAMPLES = Path(__file__).parents[2] / "examples" / "triopoll"
SERVERS = {
    "triopoll": ["triopoll", "serve", "--drain-delay", "0", "--bind", "127.0.0.1:PORT"],
    "hypercorn": ["hypercorn", "-w", "0", "-b", "127.0.0.1:PORT"],
    "hypercorn trio": ["hypercorn", "-w", "0", "-k", "trio", "-b", "127.0.0.1:PORT"],
}
PARKED = re.compile(
    rb'^triopoll_waits_parked{kind="log",worker=".*"} 1.0$', re.MULTILINE
)
TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.mark.long
@pytest.mark.parametrize("convention", ["", "http"])
@pytest.mark.parametrize("server", SERVERS)
async def test_a_span_for_each_request(
    tmp_path: Path, server: str, convention: str
) -> None:
    """Of a parked poll, too; the query, which may have a ticket, is not in it."""
    env = {
        "PYTHONPATH": os.pathsep.join(
            [str(EXAMPLES), os.environ.get("PYTHONPATH", "")]
        ),
        "TRIOPOLL_SLOCK_URL": f"embedded://127.0.0.1:{find_free_port()}",
        "OTEL_SEMCONV_STABILITY_OPT_IN": convention,
        # Hypercorn on trio ends by the signal, before what is left is written.
        "OTEL_BSP_SCHEDULE_DELAY": "50",
    }
    spans = tmp_path / "spans"
    with spans.open("wb") as output:
        service = Service([*SERVERS[server], "traced:app"], env)
        service.stdout = output
        with service:
            await poll_and_publish(service)
            await eventually(lambda: "GET /v1/messages" in spans.read_text(), 30)
    text = read(spans)
    assert '"name": "POST /v1/publish"' in text
    assert TRACE in text
    assert "a-ticket" not in text
    assert "/metrics" not in text


async def poll_and_publish(service: Service) -> None:
    query = {"key": "k", "cursor": "new", "timeout": 30, "ticket": "a-ticket"}
    parent = f"traceparent: 00-{TRACE}-b7ad6b7169203331-01\r\n"
    async with requesting(
        service.port, "/v1/messages", headers=parent, **query
    ) as poll:
        with trio.fail_after(30):
            while not PARKED.search((await ask(service.port, "/metrics")).body):
                await trio.sleep(0.02)
        body = b'{"key":"k","data":1}'
        await ask(service.port, "/v1/publish", method="POST", body=body)
        assert (await poll.answer()).json["messages"]


def read(path: Path) -> str:
    return path.read_text()
