"""The whole service under damaged requests, with other clients parked meanwhile.

The full number of requests::

    TRIOSLOCK_FUZZ_REQUESTS=100000 python -m pytest tests/triopoll/http/test_fuzz.py
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
from pathlib import Path

import pytest
from tests.triopoll.server.fuzz import APP, run_fuzz
from tests.triopoll.service import poll_process

COUNT = int(os.environ.get("TRIOSLOCK_FUZZ_REQUESTS", "1500"))
# Caches, arenas and the store fill first.
WARM = 1000
MOST_GROWTH_KIB = 8 * 1024

PARKED = (
    b"GET /poll/event?event=bystander&timeout=300 HTTP/1.1\r\nHost: h\r\n\r\n",
    b"GET /poll/message?event=bystander&timeout=300 HTTP/1.1\r\nHost: h\r\n\r\n",
)


def rss_kib(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024


def ask(port: int, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
        sock.sendall(request + b"\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = b""
        while more := sock.recv(65536):
            answer += more
    return answer


@pytest.mark.slow
@pytest.mark.timeout(120 + COUNT / 50)
@pytest.mark.parametrize("server", ["triopoll", "granian"])
def test_bystanders_stay_parked_and_memory_is_bounded(
    server: str, tmp_path: Path, record_property: pytest.RecordProperty
) -> None:
    """Damaged requests to all endpoints, two websockets and HTTP/2 bytes, by a seed."""
    process = poll_process(server=server, max_timeout=300)
    with (
        (tmp_path / "log").open("wb") as process.stderr,
        process,
        contextlib.ExitStack() as stack,
    ):
        bystanders = [
            stack.enter_context(socket.create_connection(("127.0.0.1", process.port)))
            for _ in PARKED
        ]
        for sock, request in zip(bystanders, PARKED, strict=True):
            sock.sendall(request)
        run_fuzz(process.port, count=WARM, seed=1, target=APP)
        before = rss_kib(process.pid)
        run_fuzz(process.port, count=COUNT, seed=2, target=APP)
        after = rss_kib(process.pid)
        record_property("rss_kib", f"{before} before, {after} after {COUNT} requests")
        assert not select.select(bystanders, [], [], 0.1)[0]
        assert after - before < MOST_GROWTH_KIB
        # The parked clients are still served, and so are new ones.
        ask(process.port, b"GET /poll/event/emit?event=bystander HTTP/1.1")
        for sock in bystanders:
            sock.settimeout(10)
            assert b'"err_code":0' in sock.recv(4096)
        assert b'"ready":true' in ask(process.port, b"GET /readyz HTTP/1.1")
    log = (tmp_path / "log").read_text()
    assert "Traceback" not in log, log[-4000:]
