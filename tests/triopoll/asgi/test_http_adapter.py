"""Bodies of requests, as servers of all kinds hand them over."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from triopoll.asgi.http_adapter import serve_lean
from triopoll.asgi.messages import CANCELS, Request, Response

LIMIT = 10
LENGTH = (b"content-length", b"3")
CHUNKED = (b"transfer-encoding", b"chunked")

Event = dict[str, Any]


class Call:
    """One request whose body comes in pieces; after them nothing more comes."""

    def __init__(self, *pieces: Event, version: str = "1.1", **head: Any) -> None:
        self.pieces = list(pieces)
        self.scope: Event = {
            "type": "http",
            "http_version": version,
            "method": "POST",
            "path": "/",
            "query_string": b"",
            "headers": [(b"host", b"h"), *head.get("headers", ())],
            "extensions": {CANCELS: {}},
        }
        self.sent: list[Any] = []
        self.body: bytes | None = None

    async def run(self) -> None:
        await serve_lean(
            self.scope,
            self._receive,
            self._send,
            self._serve,
            sent=lambda answer: None,
            max_body_bytes=LIMIT,
            body_seconds=5,
        )

    async def _serve(self, request: Request) -> Response:
        self.body = request.body
        return Response(b"")

    async def _receive(self) -> Event:
        if not self.pieces:
            await trio.sleep_forever()
        return self.pieces.pop(0)

    async def _send(self, event: Any) -> None:
        self.sent.append(event)


def piece(body: bytes, *, more: bool = True) -> Event:
    return {"type": "http.request", "body": body, "more_body": more}


@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize(
    ("version", "headers"),
    [("1.1", [LENGTH]), ("1.0", [LENGTH]), ("1.1", [CHUNKED]), ("2", []), ("3", [])],
)
async def test_a_body_that_does_not_come_is_answered(
    autojump_clock: MockClock, version: str, headers: Any, begun: bool
) -> None:
    """Also one of which nothing at all has come: the time counts from the head."""
    pieces = [piece(b"x")] if begun else []
    call = Call(*pieces, version=version, headers=headers)
    with trio.fail_after(6):
        await call.run()
    assert call.sent[0]["status"] == 408
    assert json.loads(call.sent[1]["body"])["code"] == "slow_body"
    assert call.body is None


async def test_a_request_without_a_body_has_none() -> None:
    """Nothing is waited for behind its head."""
    call = Call(piece(b"", more=False))
    await call.run()
    assert call.body == b""


@pytest.mark.parametrize(
    ("pieces", "status"),
    [
        ([piece(b"123", more=False)], 200),
        ([piece(b"12345"), piece(b"6789"), piece(b"0", more=False)], 200),
        ([piece(b"x" * 11, more=False)], 413),
        ([piece(b"x" * 10), piece(b"x")], 413),
    ],
)
async def test_a_body_may_have_a_length(pieces: list[Event], status: int) -> None:
    """What is longer is not read to its end."""
    call = Call(*pieces, headers=[LENGTH])
    whole = b"".join(each["body"] for each in pieces)
    await call.run()
    assert call.sent[0]["status"] == status
    assert call.body == (whole if status == 200 else None)


@pytest.mark.parametrize("headers", [[], [LENGTH]])
async def test_a_client_that_leaves_before_its_body_is_told_nothing(
    headers: Any,
) -> None:
    """Nobody listens."""
    call = Call({"type": "http.disconnect"}, headers=headers)
    await call.run()
    assert call.sent == []
    assert call.body is None
