"""Who may read the metrics."""

from __future__ import annotations

import pytest
from tests.services import find_free_port
from tests.triopoll.asgi_calls import Call, serving

from triopoll.app import Triopoll
from triopoll.settings import Settings


@pytest.mark.parametrize(
    ("readers", "peer", "status"),
    [
        ("loopback", "127.0.0.1", 200),
        ("loopback", "127.8.8.8", 200),
        ("loopback", "::1", 200),
        ("loopback", "::ffff:127.0.0.1", 200),
        ("loopback", "10.1.2.3", 403),
        ("loopback", "::ffff:10.1.2.3", 403),
        ("loopback", None, 403),
        ("loopback", "", 403),
        ("loopback", "/run/some.sock", 403),
        ("10.0.0.0/8 fe80::/10", "10.1.2.3", 200),
        ("10.0.0.0/8 fe80::/10", "fe80::1%eth0", 200),
        ("10.0.0.0/8 fe80::/10", "127.0.0.1", 403),
        ("nobody", "127.0.0.1", 403),
        ("any", "8.8.8.8", 200),
        ("any", "2001:db8::1", 200),
        ("any", None, 200),
    ],
)
async def test_who_may_read_the_metrics(
    readers: str, peer: str | None, status: int
) -> None:
    """Only the peer counts, and only the networks of the setting."""
    settings = Settings(
        slock_url=f"embedded://127.0.0.1:{find_free_port()}", metrics_from=readers
    )
    async with serving(Triopoll(settings)) as app:
        request = Call("/metrics")
        request.peer = None if peer is None else (peer, 1)
        await request.run(app)
    start = request.sent[0]
    assert start["status"] == status
    if status == 200:
        assert (b"content-type", b"text/plain; version=0.0.4; charset=utf-8") in start[
            "headers"
        ]
        assert b"triopoll_waits_parked" in request.body
    else:
        assert b"triopoll_waits_parked" not in request.body


@pytest.mark.parametrize(
    "name", ["x-forwarded-for", "cf-connecting-ip", "true-client-ip", "x-client-ip"]
)
async def test_no_proxy_may_read_the_metrics(name: str) -> None:
    """A request with a header of a proxy comes from anywhere."""
    settings = Settings(slock_url=f"embedded://127.0.0.1:{find_free_port()}")
    async with serving(Triopoll(settings)) as app:
        request = Call("/metrics", headers=[(name.encode(), b"127.0.0.1")])
        await request.run(app)
    assert request.status == 403
    assert b"triopoll_waits_parked" not in request.body


async def test_probes_are_not_limited() -> None:
    """A client that has used up its address's rate does not make the node look ill."""
    settings = Settings(
        slock_url=f"embedded://127.0.0.1:{find_free_port()}",
        requests_per_ip=1,
        burst_per_ip=1,
        metrics_from="any",
    )
    async with serving(Triopoll(settings)) as app:

        async def ask(path: str) -> tuple[int, bytes]:
            request = Call(path)
            request.peer = ("8.8.8.8", 1)
            await request.run(app)
            return request.sent[0]["status"], request.body

        poll = "/poll/event?event=a&timeout=0"
        answers = [await ask(poll) for _ in range(3)]
        assert b'"err_code":429' in answers[2][1]
        for path in ("/livez", "/readyz", "/metrics"):
            assert [(await ask(path))[0] for _ in range(3)] == [200, 200, 200]
