"""The OpenResty API, over real sockets, with a real Redis."""

from __future__ import annotations

import sys
import time
from typing import Any

import pytest
import redis
import trio
from tests.services import RedisServer
from tests.triopoll.service import (
    Process,
    ask,
    poll_process,
    reads,
    requesting,
    until_waiting,
)

import trioslock
from triopoll.access import entry_for, issue_ticket, new_key

PUBLISHERS = [
    "/poll/event/emit",
    "/poll/message/send",
    "/poll/group/message/create",
    "/poll/group/message/send",
]


def succeeded(data: object = None) -> dict[str, object]:
    return {"code": 0, "msg": "succed", "data": data}


def failed(code: int, msg: str, data: object = None) -> dict[str, object]:
    return {"code": code, "msg": msg, "data": data}


async def post(service: Process, path: str, body: bytes = b"", **args: object) -> Any:
    async with requesting(
        service.port, path, method="POST", body=body, **args
    ) as request:
        return reads(await request.answer())


async def get(service: Process, path: str, **args: object) -> Any:
    return reads(await ask(service.port, path, **args))


async def test_emit_wakes_a_poll(
    service: Process, slock: trioslock.Client, key: str
) -> None:
    """An emit wakes polls of both compatible APIs, each in its format."""
    openresty = requesting(service.port, "/poll/event", key=key)
    poll = requesting(service.port, "/poll/event", event=key)
    async with openresty as first, poll as second:
        await until_waiting(slock, 2)
        assert await post(service, "/poll/event/emit", key=key) == succeeded()
        assert reads(await first.answer()) == succeeded()
        assert reads(await second.answer()) == {"err_code": 0, "err_message": "succed"}


async def test_a_poll_puts_the_event_back(
    service: Process, slock: trioslock.Client, key: str
) -> None:
    """A poll resets the event, except with keep_seted or if it is set by default."""
    event = slock.event(key, ttl=30)
    await event.set()
    kept = {"key": key, "keep_seted": "true"}
    assert await get(service, "/poll/event", **kept) == succeeded()
    assert await event.is_set()
    assert await get(service, "/poll/event", key=key) == succeeded()
    assert not await event.is_set()
    other = {"key": f"other-{key}", "default_seted": "true"}
    assert await get(service, "/poll/event", **other) == succeeded()
    assert await slock.event(other["key"], default="set", ttl=30).is_set()


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_emit_by_any_method(
    service: Process, slock: trioslock.Client, key: str, method: str
) -> None:
    """The method does not matter, as in the image."""
    async with requesting(
        service.port, "/poll/event/emit", method=method, key=key
    ) as request:
        assert reads(await request.answer()) == succeeded()
    assert await slock.event(key, ttl=5).is_set()


async def test_emit_for_an_event_that_is_set_by_default(
    service: Process, slock: trioslock.Client, key: str
) -> None:
    """Both sides send default_seted; any word except false means yes."""
    event = slock.event(key, default="set", ttl=30)
    await event.clear()
    args = {"key": key, "default_seted": "true"}
    timed_out = failed(504, "wait event timeout")
    assert await get(service, "/poll/event", **args, timeout="0.05") == timed_out
    async with requesting(service.port, "/poll/event", **args) as request:
        await until_waiting(slock, 1)
        assert await post(service, "/poll/event/emit", **args) == succeeded()
        assert reads(await request.answer()) == succeeded()


async def test_an_event_lasts_for_a_minute_at_least(
    service: Process, slock: trioslock.Client, key: str
) -> None:
    """Shorter leases become a minute; longer ones are used as they are."""
    for expried, lease in (("5", 60), ("100", 100), ("99999999", 65535)):
        await post(service, "/poll/event/emit", key=key, expried=expried)
        (holder,) = await slock.holders(key)
        assert lease <= holder.until - holder.since <= lease + 2
        await slock.event(key, ttl=5).clear()


async def test_a_message_is_sent_and_read(
    service: Process, slock: trioslock.Client, redis_client: redis.Redis, key: str
) -> None:
    """Waiting polls get the message as it was written; later polls too, if kept."""
    message = b'{"b": 1.0, "a": [1e2, "gr\xc3\xbc\xc3\x9fe", "\\ud800"]}'
    args = {"key": key, "keep_seted": "yes"}
    async with requesting(service.port, "/poll/message", **args) as request:
        await until_waiting(slock, 1)
        async with requesting(
            service.port, "/poll/message/send", method="POST", body=message, key=key
        ) as sending:
            sent = await sending.answer()
        assert reads(sent) == succeeded({"b": 1.0, "a": [100.0, "grüße", "\ud800"]})
        answer = await request.answer()
        assert reads(answer) == sent.json
        assert message in answer.body
        assert message in sent.body
    assert (await ask(service.port, "/poll/message", **args)).body == sent.body
    name = f"polling:message:{key}"
    assert redis_client.get(name) == message
    assert 118 <= redis_client.ttl(name) <= 120


async def test_a_message_stays_longer_than_its_event(
    service: Process, redis_client: redis.Redis, key: str
) -> None:
    """By a minute, as in the image."""
    await post(service, "/poll/message/send", b"1", key=key, expried="1000")
    assert 1058 <= redis_client.ttl(f"polling:message:{key}") <= 1060


async def test_an_event_without_a_message(
    service: Process, slock: trioslock.Client, key: str
) -> None:
    """If only the event was set, the poll answers 404."""
    await slock.event(key, ttl=30).set()
    assert await get(service, "/poll/message", key=key) == failed(404, "redis get fail")


async def test_no_message_in_time(service: Process, key: str) -> None:
    """The message is not read before the event is set."""
    expected = failed(504, "wait event timeout")
    assert await get(service, "/poll/message", key=key, timeout="0.05") == expected


async def test_the_poll_api_reads_what_the_openresty_api_sends(
    service: Process, slock: trioslock.Client, key: str
) -> None:
    """The poll API returns text as it is, other values as JSON; a list goes first."""
    for body, data in ((b'"gr\\u00fc\\u00dfe"', "grüße"), (b'{"a": 1}', '{"a": 1}')):
        await post(service, "/poll/message/send", body, key=key)
        answer = await get(service, "/poll/message", event=key)
        assert answer == {"err_code": 0, "err_message": "succed", "data": data}
    await post(service, "/poll/message/send", b"from a list", event=key)
    answer = await get(service, "/poll/message", event=key)
    assert answer == {"err_code": 0, "err_message": "", "data": "from a list"}


async def test_a_publisher_for_the_poll_api(
    service: Process, slock: trioslock.Client, redis_client: redis.Redis, key: str
) -> None:
    """With event instead of key, a message is appended to the list."""
    assert await post(service, "/poll/message/send", b'"a" b', event=key) == succeeded(
        '"a" b'
    )
    await post(service, "/poll/message/send", b"c", event=key)
    assert redis_client.lrange(key, 0, -1) == [b'"a" b', b"c"]
    assert redis_client.get(f"polling:message:{key}") is None
    assert await slock.event(key, ttl=5).is_set()


async def test_a_group_from_its_creation_on(
    service: Process, slock: trioslock.Client, redis_client: redis.Redis, key: str
) -> None:
    """All readers get every message by its number, when it is sent or later."""
    created = await post(service, "/poll/group/message/create", key=key)
    assert created == succeeded({"msg_id": 0})
    path, send = "/poll/group/message", "/poll/group/message/send"
    one = requesting(service.port, path, key=key, client_id="1")
    two = requesting(service.port, path, key=key, client_id="2", msg_id="0")
    async with one as first, two as second:
        await until_waiting(slock, 2)
        sent = await post(service, send, b'{"n": 0}', key=key)
        assert sent == succeeded({"msg_id": 0, "message": {"n": 0}})
        assert reads(await first.answer()) == succeeded({"n": 0})
        assert reads(await second.answer()) == succeeded({"n": 0})
    for n in (1, 2, 3):
        sent = await post(service, send, b'{"n": %d}' % n, key=key)
        assert sent == succeeded({"msg_id": n, "message": {"n": n}})
    for n in (0, 1, 2, 3):
        assert await get(service, path, key=key, msg_id=n) == succeeded({"n": n})
    answer = await get(service, path, key=key, msg_id=4, timeout="0.05")
    assert answer == failed(504, "wait timeout")
    assert redis_client.get(f"polling:group:message:{key}:3") == b'{"n": 3}'
    assert 118 <= redis_client.ttl(f"polling:group:message:{key}:3") <= 120
    await until_waiting(slock, 0)


@pytest.mark.slow
async def test_a_group_that_was_not_created(service: Process, key: str) -> None:
    """Its first message has the number 1; before it, polls are answered 404."""
    path = "/poll/group/message"
    assert await get(service, path, key=key) == failed(404, "redis get fail")
    sent = await post(service, "/poll/group/message/send", b"null", key=key)
    assert sent == succeeded({"msg_id": 1, "message": None})
    assert await get(service, path, key=key, msg_id=1) == succeeded(None)


async def test_a_group_that_there_is_already(service: Process, key: str) -> None:
    """Creating it again succeeds; a number above its next one is refused."""
    create, send = "/poll/group/message/create", "/poll/group/message/send"
    assert await post(service, create, key=key, msg_id=7) == succeeded({"msg_id": 7})
    await post(service, send, b"7", key=key)
    assert await post(service, create, key=key, msg_id=7) == succeeded({"msg_id": 8})
    expected = failed(500, "already exists", {"msg_id": 8})
    assert await post(service, create, key=key, msg_id=9) == expected


async def test_an_image_sends_to_a_group(
    service: Process, slock: trioslock.Client, redis_client: redis.Redis, key: str
) -> None:
    """The image wakes first and stores afterwards, under a lock of a known name."""
    group = slock.group_event(key, version=5, ttl=60)
    await group.clear()
    async with requesting(
        service.port, "/poll/group/message", key=key, msg_id=5
    ) as request:
        await until_waiting(slock, 1)
        async with slock.lock(f"polling:group:message:{key}", lease=10):
            version = await group.wakeup()
            await trio.sleep(0.1)
            name = f"polling:group:message:{key}:{version - 1}"
            redis_client.set(name, b'{"from":"image"}', ex=120)
        assert reads(await request.answer()) == succeeded({"from": "image"})
    # What is sent here goes on from there, and its lease counts from now on.
    send = "/poll/group/message/send"
    sent = await post(service, send, b'"here"', key=key, expried=500)
    assert sent == succeeded({"msg_id": 6, "message": "here"})
    (holder,) = await slock.holders(key)
    assert holder.until - time.time() > 450


async def test_an_image_waits_for_what_is_sent_here(
    service: Process, slock: trioslock.Client, redis_client: redis.Redis, key: str
) -> None:
    """The image waits for the group under its number and passes through the lock."""
    await post(service, "/poll/group/message/create", key=key, msg_id=3)
    found: list[object] = []

    async def image() -> None:
        await slock.group_event(key, member=0, version=3, ttl=60).wait()
        async with slock.lock(f"polling:group:message:{key}", lease=1):
            found.append(redis_client.get(f"polling:group:message:{key}:3"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(image)
        await until_waiting(slock, 1)
        await post(service, "/poll/group/message/send", b"[3]", key=key)
    assert found == [b"[3]"]


# The calls of a front end of the image, and of publishers with PyPI's pyslock.
PYSLOCK = """
import asyncio, sys, types
asyncio.coroutine = types.coroutine
import pyslock, redis
key, redis_port, slock_host, slock_port = sys.argv[1:]
kept = redis.Redis(port=int(redis_port))
slock = pyslock.Client(slock_host, int(slock_port)).select(DB)
"""


@pytest.mark.slow
async def test_pyslock_sends_and_is_sent_to(
    slock: trioslock.Client, slock_url: str, redis_server: RedisServer, key: str
) -> None:
    """Another slock client works on the other side, in both directions."""
    url = redis_server.url
    with poll_process(slock=slock_url, redis=url, server="triopoll") as service:
        await play_with_pyslock(service, slock, slock_url, redis_server.port, key)


async def play_with_pyslock(
    service: Process,
    slock: trioslock.Client,
    slock_url: str,
    redis_port: int,
    key: str,
) -> None:
    key = key[:15]
    address, _, db = slock_url.removeprefix("slock://").partition("/")
    head = [sys.executable, "-c"]
    tail = [key, str(redis_port), *address.rsplit(":", 1)]
    prelude = PYSLOCK.replace("DB", db or "0")
    publish = f"""{prelude}
kept.set('polling:message:' + key, '[1]', ex=120)
slock.Event(key, 5, 60, False).set()
"""
    async with requesting(service.port, "/poll/message", key=key) as request:
        await until_waiting(slock, 1)
        await trio.run_process([*head, publish, *tail])
        assert reads(await request.answer()) == succeeded([1])
    # Its wait for the other kind of event is broken.
    key = key[:14]
    tail[0] = key
    await slock.event(key, default="set", ttl=30).clear()
    wait = f"""{prelude}
slock.Event(key, 5, 60, True).wait(9)
print(kept.get('polling:message:' + key).decode())
"""
    async with trio.open_nursery() as nursery:

        async def read() -> None:
            process = await trio.run_process([*head, wait, *tail], capture_stdout=True)
            assert process.stdout == b"[2]\n"

        nursery.start_soon(read)
        await until_waiting(slock, 1)
        path, args = "/poll/message/send", {"key": key, "default_seted": "true"}
        await post(service, path, b"[2]", **args)


@pytest.mark.parametrize(
    ("path", "args", "body", "sentence"),
    [
        ("/poll/event/emit", "", b"", "event key is empty"),
        ("/poll/event/emit", "key=", b"", "event key is empty"),
        ("/poll/event/emit", "key=a&key=b", b"", "key is given more than once"),
        (
            "/poll/event/emit",
            "key=a&event=a",
            b"",
            "key and event are given, which are two names of one thing",
        ),
        ("/poll/event/emit", "key=%ff", b"", "key is not UTF-8"),
        ("/poll/event/emit", "key=" + 257 * "a", b"", "key is longer than 256 bytes"),
        ("/poll/event/emit", "key=triopoll:a", b"", "key is a name that is reserved"),
        (
            "/poll/event/emit",
            "key=a&expried=soon",
            b"",
            "expried is not a number of seconds, 0 or above",
        ),
        ("/poll/message/send", "", b"{}", "event key is empty"),
        ("/poll/message/send", "key=a", b"", "body empty"),
        ("/poll/message/send", "key=a", b" ", "message error"),
        ("/poll/message/send", "key=a", b"{", "message error"),
        ("/poll/message/send", "key=a", b"a=1", "message error"),
        ("/poll/message/send", "key=a", b"NaN", "message error"),
        ("/poll/message/send", "key=a", b'"\xff"', "message error"),
        ("/poll/message/send", "key=a", 100_000 * b"[", "message error"),
        ("/poll/message/send", "key=a", 5_000 * b"1", "message error"),
        ("/poll/message/send", "event=a", b"", "body empty"),
        ("/poll/message/send", "event=a", b"\xff", "message is not UTF-8"),
        ("/poll/group/message/create", "", b"", "group key is empty"),
        (
            "/poll/group/message/create",
            "key=a&msg_id=-1",
            b"",
            "msg_id is not a whole number, 0 or above",
        ),
        (
            "/poll/group/message/create",
            "key=a&msg_id=4294967295",
            b"",
            "msg_id is above 4294967294",
        ),
        ("/poll/group/message/send", "", b"{}", "group key is empty"),
        ("/poll/group/message/send", "key=a", b"", "body empty"),
        ("/poll/group/message/send", "key=a", b"{", "message error"),
    ],
)
async def test_what_a_publisher_may_not_send(
    service: Process, path: str, args: str, body: bytes, sentence: str
) -> None:
    """The error says what is wrong, in the image's wording where it has one."""
    async with requesting(
        service.port, path, args, method="POST", body=body
    ) as request:
        assert reads(await request.answer()) == failed(400, sentence)


@pytest.mark.parametrize(
    ("path", "args", "sentence"),
    [
        ("/poll/event", "key=", "event key is empty"),
        ("/poll/message", "key=a&key=b", "key is given more than once"),
        ("/poll/message", "key=a&timeout=x", None),
        ("/poll/group/message", "", "group key is empty"),
        (
            "/poll/group/message",
            "key=a&msg_id=x",
            "msg_id is not a whole number, 0 or above",
        ),
        ("/poll/group/message", "key=a&timeout=x", None),
    ],
)
async def test_what_cannot_be_waited_for(
    service: Process, path: str, args: str, sentence: str | None
) -> None:
    """An invalid poll of the OpenResty API is refused in that API's format."""
    sentence = sentence or "timeout is not a number of seconds, 0 or above"
    answer = await ask(service.port, path, args.encode())
    assert reads(answer) == failed(400, sentence)


async def test_event_goes_before_key(
    service: Process, slock: trioslock.Client, key: str
) -> None:
    """A poll with both event and key belongs to the poll API, which ignores key."""
    await slock.event(key, ttl=5).set()
    answer = await get(service, "/poll/event", event=key, key="other")
    assert answer == {"err_code": 0, "err_message": "succed"}


async def test_a_value_that_is_no_json(
    service: Process, slock: trioslock.Client, redis_client: redis.Redis, key: str
) -> None:
    """A value that another program has stored and that is not JSON answers 500."""
    await slock.event(key, ttl=30).set()
    redis_client.set(f"polling:message:{key}", b"\xff")
    args = {"key": key, "keep_seted": "true"}
    assert await get(service, "/poll/message", **args) == failed(500, "message error")
    async with requesting(service.port, "/poll/message", event=key) as request:
        answer = await request.answer()
    assert b'"data":"\xef\xbf\xbd","data_base64":"/w=="}' in answer.body


async def test_a_message_in_the_list_that_is_no_text(
    service: Process, redis_client: redis.Redis, key: str
) -> None:
    """The reply of the poll API is JSON, and has the bytes in base64."""
    redis_client.rpush(key, b"a\xff", b"b")
    assert await get(service, "/poll/message", event=key) == {
        "err_code": 0,
        "err_message": "",
        "data": "a\ufffd",
        "data_base64": "Yf8=",
    }
    assert (await get(service, "/poll/message", event=key))["data"] == "b"
    assert redis_client.llen(key) == 0


async def test_a_value_of_another_type(
    service: Process, slock: trioslock.Client, redis_client: redis.Redis, key: str
) -> None:
    """Redis refuses to read a key of another type, and the poll answers 500."""
    await slock.event(key, ttl=30).set()
    redis_client.rpush(f"polling:message:{key}", b"1")
    assert await get(service, "/poll/message", key=key) == failed(500, "redis get fail")


@pytest.mark.parametrize("path", PUBLISHERS)
async def test_publishing_through_a_proxy(
    service: Process, key: str, path: str
) -> None:
    """A request through a proxy does not count as local, and is refused."""
    async with await trio.open_tcp_stream("127.0.0.1", service.port) as stream:
        head = f"POST {path}?key={key} HTTP/1.1\r\nHost: localhost\r\n"
        rest = "X-Forwarded-For: 127.0.0.1\r\nContent-Length: 0\r\n\r\n"
        await stream.send_all((head + rest).encode())
        received = b""
        while b"}" not in received:
            received += await stream.receive_some()
    assert b'"code":403' in received


@pytest.mark.parametrize("path", ["/poll/group/message", *PUBLISHERS])
async def test_other_methods(service: Process, path: str) -> None:
    """Other methods are refused without any effect."""
    async with requesting(service.port, path, method="DELETE", key="a") as request:
        answer = await request.answer()
    assert answer.status == 405
    assert "get" in answer.headers["allow"]


async def test_a_group_poll_whose_client_leaves(
    service: Process, slock: trioslock.Client, key: str
) -> None:
    """Its wait is withdrawn."""
    await post(service, "/poll/group/message/create", key=key)
    async with requesting(service.port, "/poll/group/message", key=key):
        await until_waiting(slock, 1)
    await until_waiting(slock, 0)


@pytest.mark.slow
async def test_who_may_do_what(
    slock: trioslock.Client, slock_url: str, redis_server: RedisServer, key: str
) -> None:
    """Publishers need API keys and subscribers tickets, as for other endpoints."""
    api_key, secret = new_key(), new_key()
    with poll_process(
        slock=slock_url,
        redis=redis_server.url,
        server="triopoll",
        publish_keys=entry_for("shop", api_key, [f"e-{key}", f"g-{key}"]),
        ticket_secrets=secret,
    ) as service:
        other, event, group = f"other-{key}", f"e-{key}", f"g-{key}"
        for path in PUBLISHERS:
            own = group if "group" in path else event
            for key, bearer, code in (
                (own, "", 401),
                (own, secret, 401),
                (other, api_key, 403),
                (own, api_key, 0),
            ):
                answer = await post(service, path, b"1", key=key, bearer=bearer)
                assert answer["code"] == code
        for path in ("/poll/event", "/poll/message", "/poll/group/message"):
            assert (await get(service, path, key=event))["code"] == 401
            ticket = issue_ticket(secret, [other], lifetime=60)
            denied = await get(service, path, key=event, ticket=ticket)
            assert (denied["code"], denied["data"]) == (403, None)
        ticket = issue_ticket(secret, [group], lifetime=1.5)
        path, args = "/poll/group/message", {"key": group, "ticket": ticket}
        assert await get(service, path, **args, msg_id=0) == succeeded(1)
        ended = await get(service, path, **args, msg_id=1)
        assert ended == failed(401, "the ticket has expired")
        await until_waiting(slock, 0)
