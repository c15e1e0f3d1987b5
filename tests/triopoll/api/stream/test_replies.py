"""Headers and bodies of what became of a request for a stream."""

from __future__ import annotations

import json

import pytest

from triopoll.api.stream.decoding import StreamQuery
from triopoll.api.stream.replies import (
    etag,
    head_response,
    not_modified,
    page_response,
    refusal_response,
)
from triopoll.core.outcomes import Failure
from triopoll.store import (
    START,
    Offset,
    Refused,
    StreamEntry,
    StreamPage,
    StreamRefusal,
    StreamView,
)

FIRST, SECOND = Offset(5, "0" * 15 + "1"), Offset(6, "0" * 15 + "2")


def page(*data: bytes, closed: bool = False, tail: Offset = SECOND) -> StreamPage:
    view = StreamView(
        id="id",
        content_type="text/plain",
        tail=tail,
        closed=closed,
        ttl=None,
        expires="",
    )
    entries = [StreamEntry(SECOND, each) for each in data]
    return StreamPage(view, FIRST if data else tail, entries)


def query(live: str = "", *, now: bool = False) -> StreamQuery:
    after = None if now else START
    return StreamQuery(after=after, live=live, cursor=None)  # type: ignore[arg-type]


@pytest.mark.parametrize("shared", [True, False])
def test_what_caches_may_do(shared: bool) -> None:
    """What stays may be kept, what grows is asked for again, what waits is not kept."""
    whom = "public" if shared else "private"
    final = f"{whom}, max-age=60, stale-while-revalidate=300"
    longer = Offset(9, "0" * 16)
    for found, asked, expected in (
        (page(b"x"), query(), f"{whom}, no-cache"),
        (page(b"x", tail=longer), query(), final),
        (page(b"x", closed=True), query(), final),
        (page(b"x"), query("long-poll"), final),
        (page(), query("long-poll"), "no-store"),
        (page(), query(now=True), "no-store"),
        (page(), query(), f"{whom}, no-cache"),
    ):
        response = page_response(found, asked, 7, shared=shared)
        headers = dict(response.headers)
        assert headers[b"cache-control"].decode() == expected
        assert (b"etag" in headers) is (expected != "no-store")


def test_what_is_shared_is_made_once() -> None:
    """The body of a page is the same object for all its readers."""
    found = page(b"x", b"y")
    first, second = (page_response(found, query(), 7, shared=True) for _ in range(2))
    assert first.body == b"xy"
    assert first.body is second.body


def test_entity_tags() -> None:
    """A close changes that of the end."""
    assert etag(page(b"x")) == f'"id:{FIRST}:{SECOND}"'.encode()
    assert etag(page(b"x", closed=True)) == f'"id:{FIRST}:{SECOND}:closed"'.encode()


@pytest.mark.parametrize(
    ("known", "status"),
    [
        ([], 200),
        ([b"*"], 304),
        ([b'"x"'], 200),
        ([b'"x", W/%b'], 304),
        ([b'"x"', b"%b"], 304),
    ],
)
def test_what_a_client_has(known: list[bytes], status: int) -> None:
    """It is not sent again; 204 and 404 are."""
    found = page(b"x")
    response = page_response(found, query(), 7, shared=True)
    tags = [each.replace(b"%b", etag(found)) for each in known]
    answer = not_modified(response, tags)
    assert answer.status == status
    if status == 304:
        assert answer.body == b""
        assert b"content-type" not in dict(answer.headers)
        assert dict(answer.headers)[b"stream-up-to-date"] == b"true"
    none = page_response(page(), query("long-poll"), 7, shared=True)
    assert not_modified(none, [b"*"]) is none


def test_heads() -> None:
    """The end as it was given."""
    view = StreamView(
        id="i", content_type="a/b", tail=FIRST, closed=False, ttl=None, expires="soon"
    )
    headers = dict(head_response(view).headers)
    assert headers[b"stream-expires-at"] == b"soon"
    assert b"stream-ttl" not in headers
    assert b"stream-closed" not in headers


@pytest.mark.parametrize("reason", StreamRefusal)
def test_each_refusal_has_its_answer(reason: StreamRefusal) -> None:
    """A status of its kind, its word and a sentence."""
    response = refusal_response(Refused(reason=reason))
    assert 400 <= response.status < 500
    shape = json.loads(response.body)
    assert shape["code"] == reason.value
    assert shape["message"]


def test_a_failure_is_answered_as_elsewhere() -> None:
    """With the status, the body and the pause of `/v1`."""
    response = refusal_response(Failure.STORE_UNREACHABLE)
    body = json.loads(response.body)
    assert (response.status, body["code"]) == (503, "store_unreachable")
    assert dict(response.headers)[b"retry-after"] == b"%d" % (body["retry_ms"] // 1000)
