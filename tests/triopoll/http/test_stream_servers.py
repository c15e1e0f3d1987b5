"""Streams under each server that the service supports."""

from __future__ import annotations

import pytest
from tests.triopoll.service import SERVERS, ask, poll_process

pytestmark = pytest.mark.slow

PATH = "/v1/stream/a/b%2Fc%20%C3%A9"


@pytest.mark.parametrize("server", SERVERS)
async def test_a_stream(server: str) -> None:
    """The same paths, answers without a body, long polls and events."""
    process = poll_process(server=server, stream_timeout=0.5, sse_lifetime=0.5)
    with process:
        port = process.port
        text = "Content-Type: text/plain\r\n"
        made = await ask(port, PATH, method="PUT", body=b"x", headers=text)
        assert made.status == 201
        location = f"http://localhost{PATH.replace('%2F', '/')}".lower()
        assert made.headers["location"] == location
        read = await ask(port, "/v1/stream/a/b/c%20%C3%A9")
        assert (read.status, read.body) == (200, b"x")
        unknown = await ask(port, "/v1/stream/none", method="HEAD")
        assert (unknown.status, unknown.body) == (404, b"")
        known = f"If-None-Match: {read.headers['etag']}\r\n"
        same = await ask(port, PATH, headers=known)
        assert (same.status, same.body) == (304, b"")
        quiet = await ask(port, PATH, b"offset=now&live=long-poll")
        assert (quiet.status, quiet.body) == (204, b"")
        events = await ask(port, PATH, b"offset=-1&live=sse")
        assert events.headers["content-type"] == "text/event-stream"
        assert b"event: data\ndata:x\n\nevent: control\n" in events.body
        bad = await ask(port, "/v1/stream/a/%ff")
        assert bad.status == 400
