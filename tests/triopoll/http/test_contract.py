"""The documented replies of the poll API, over real sockets and a real Redis."""

from __future__ import annotations

import pytest
import redis
import trio
from tests.triopoll.service import Process, ask, reads, requesting, until_waiting

import trioslock

SUCCEEDED = {"err_code": 0, "err_message": "succed"}


async def test_an_event_that_fires(
    service: Process, slock: trioslock.Client, key: str
) -> None:
    """A parked poll answers as soon as a publisher sets its event."""
    async with requesting(service.port, "/poll/event", event=key) as request:
        await until_waiting(slock, 1)
        await slock.event(key, ttl=5).set()
        assert reads(await request.answer()) == SUCCEEDED
    await until_waiting(slock, 0)


async def test_an_event_that_is_set_already(
    service: Process, slock: trioslock.Client, key: str
) -> None:
    """A second poll within the event's lifetime succeeds too."""
    await slock.event(key, ttl=5).set()
    for seconds in ("5", "0"):
        answer = await ask(service.port, "/poll/event", event=key, timeout=seconds)
        assert reads(answer) == SUCCEEDED


@pytest.mark.parametrize("seconds", ["0", "0.05"])
async def test_an_event_that_does_not_fire(
    service: Process, slock: trioslock.Client, key: str, seconds: str
) -> None:
    """After the timeout, fractions included, no wait is left on slock."""
    answer = await ask(service.port, "/poll/event", event=key, timeout=seconds)
    assert reads(answer) == {"err_code": 504, "err_message": "wait event timeout"}
    await until_waiting(slock, 0)


async def test_an_event_that_is_initially_set(
    service: Process, slock: trioslock.Client, key: str
) -> None:
    """With default_type=set a poll waits for a clear followed by a set."""
    args = {"event": key, "default_type": "set"}
    assert reads(await ask(service.port, "/poll/event", **args)) == SUCCEEDED
    event = slock.event(key, default="set", ttl=5)
    await event.clear()
    answer = await ask(service.port, "/poll/event", **args, timeout="0")
    assert reads(answer) == {"err_code": 504, "err_message": "wait event timeout"}
    async with requesting(service.port, "/poll/event", **args) as request:
        await until_waiting(slock, 1)
        await event.set()
        assert reads(await request.answer()) == SUCCEEDED


@pytest.mark.parametrize("default", ["clear", "set"])
@pytest.mark.parametrize("seconds", ["0", "5"])
async def test_wait_type_reset_puts_the_event_back(
    service: Process, slock: trioslock.Client, key: str, default: str, seconds: str
) -> None:
    """With reset each set serves one success, in both modes and with timeout=0."""
    args = {"event": key, "default_type": default, "wait_type": "reset"}
    event = slock.event(key, default=default, ttl=5)
    await event.set()
    answer = await ask(service.port, "/poll/event", **args, timeout=seconds)
    assert reads(answer) == SUCCEEDED
    assert not await event.is_set()
    answer = await ask(service.port, "/poll/event", **args, timeout="0.05")
    assert reads(answer) == {"err_code": 504, "err_message": "wait event timeout"}


async def test_a_message_that_is_there(
    service: Process, redis_client: redis.Redis, key: str
) -> None:
    """The first message of the list is popped without waiting."""
    redis_client.rpush(key, "first", "second")
    answer = await ask(service.port, "/poll/message", event=key)
    assert reads(answer) == {"err_code": 0, "err_message": "", "data": "first"}
    assert redis_client.lrange(key, 0, -1) == [b"second"]


async def test_a_message_that_comes(
    service: Process, slock: trioslock.Client, redis_client: redis.Redis, key: str
) -> None:
    """The event wakes the poll, which then finds the message."""
    async with requesting(service.port, "/poll/message", event=key) as request:
        await until_waiting(slock, 1)
        redis_client.rpush(key, "grüße")
        await slock.event(key, ttl=5).set()
        assert reads(await request.answer()) == {**SUCCEEDED, "data": "grüße"}
    assert redis_client.llen(key) == 0


@pytest.mark.parametrize("seconds", ["0", "5"])
async def test_an_event_without_a_message(
    service: Process, slock: trioslock.Client, key: str, seconds: str
) -> None:
    """The data is null if the list is empty."""
    await slock.event(key, ttl=5).set()
    answer = await ask(service.port, "/poll/message", event=key, timeout=seconds)
    assert reads(answer) == {**SUCCEEDED, "data": None}


@pytest.mark.parametrize("seconds", ["0", "0.05"])
async def test_no_message_in_time(service: Process, key: str, seconds: str) -> None:
    """Without a message within the timeout the poll answers 504."""
    answer = await ask(service.port, "/poll/message", event=key, timeout=seconds)
    assert reads(answer) == {"err_code": 504, "err_message": "wait timeout"}


async def test_a_key_that_holds_no_list(
    service: Process, redis_client: redis.Redis, key: str
) -> None:
    """If the key is not a list, Redis refuses the pop and the poll answers 500."""
    redis_client.set(key, "text")
    answer = await ask(service.port, "/poll/message", event=key)
    assert reads(answer) == {"err_code": 500, "err_message": "redis lpop fail"}


async def test_private_messages_in_a_loop(
    service: Process, slock: trioslock.Client, redis_client: redis.Redis, key: str
) -> None:
    """With wait_type=reset a loop gets each message once and in order.

    A poll between the push and the set leaves the event set, so the next poll may
    answer null once. Without the reset, the loop would spin and answer null each time.
    """
    received: list[str | None] = []
    args = {"event": key, "wait_type": "reset"}

    async def read() -> None:
        while received.count(None) + 5 > len(received):
            answer = await ask(service.port, "/poll/message", **args)
            received.append(answer.json["data"])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        for n in range(5):
            redis_client.rpush(key, n)
            await slock.event(key, ttl=30).set()
            await trio.sleep(0.02)
    assert [data for data in received if data is not None] == ["0", "1", "2", "3", "4"]
    assert received.count(None) <= 5


@pytest.mark.parametrize("path", ["/poll/event", "/poll/message"])
@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        (b"", "event key is empty"),
        (b"event=", "event key is empty"),
        (b"event=t&timeout=abc", "timeout is not a number of seconds, 0 or above"),
        (b"event=t&timeout=nan", "timeout is not a number of seconds, 0 or above"),
        (b"event=t&timeout=inf", "timeout is not a number of seconds, 0 or above"),
        (b"event=t&timeout=-1", "timeout is not a number of seconds, 0 or above"),
        (b"event=t&default_type=no", "default_type is not one of: clear, set"),
        (b"event=t&wait_type=no", "wait_type is not one of: reset"),
        (b"event=" + b"k" * 257, "event is longer than 256 bytes"),
        (b"event=a&event=b", "event is given more than once"),
        (b"event=%FF", "event is not UTF-8"),
        (b"event=t&x=" + b"y" * 10_000, "query is longer than 8192 bytes"),
    ],
)
async def test_garbage(
    service: Process, path: str, query: bytes, sentence: str
) -> None:
    """An invalid parameter is answered with a message that names it."""
    answer = await ask(service.port, path, query)
    assert reads(answer) == {"err_code": 400, "err_message": sentence}


async def test_head_takes_nothing(
    service: Process, redis_client: redis.Redis, key: str
) -> None:
    """HEAD cannot carry a message, so it must not pop one."""
    redis_client.rpush(key, "1")
    answer = await ask(service.port, "/poll/message", event=key, method="HEAD")
    assert (answer.status, answer.headers["allow"]) == (405, "get")
    assert redis_client.llen(key) == 1


async def test_another_path(service: Process) -> None:
    """An unknown path is answered 404."""
    assert (await ask(service.port, "/static/x")).status == 404


@pytest.mark.slow
async def test_a_loop_while_the_event_stays_set(
    service: Process, slock: trioslock.Client, redis_client: redis.Redis, key: str
) -> None:
    """With an empty list it is answered a few times a second, a message within one."""
    await slock.event(key, ttl=60).set()
    empty = {**SUCCEEDED, "data": None}
    replies, end = 0, trio.current_time() + 2
    while trio.current_time() < end:
        assert reads(await ask(service.port, "/poll/message", event=key)) == empty
        replies += 1
    assert replies <= 12
    redis_client.rpush(key, "1")
    began = trio.current_time()
    answer = await ask(service.port, "/poll/message", event=key)
    assert reads(answer) == {"err_code": 0, "err_message": "", "data": "1"}
    assert trio.current_time() - began < 1.5
