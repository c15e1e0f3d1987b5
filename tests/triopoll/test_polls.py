"""The endpoints over real sockets: what each poll answers, and what it leaves."""

from __future__ import annotations

import contextlib
import socket
import struct
import sys
from collections.abc import Iterator
from functools import partial

import pytest
import redis
import trio
from tests.services import RedisServer, find_tool
from tests.triopoll.services import (
    Answer,
    Service,
    clear_event,
    read_from,
    running,
    set_event,
    slock_process,
)
from tests.triopoll.support import eventually

SUCCESS = {"err_code": 0, "err_message": "succed"}


@pytest.fixture
def messages(redis_server: RedisServer) -> Iterator[redis.Redis]:
    with redis.Redis(port=redis_server.port) as client:
        yield client


def assert_uncached(answer: Answer) -> None:
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-accel-buffering"] == "no"


class Poll:
    """A poll that waits in a task of its own."""

    def __init__(self, nursery: trio.Nursery, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.answer: Answer | None = None
        self._done = trio.Event()
        nursery.start_soon(self._read)

    async def _read(self) -> None:
        with contextlib.suppress(trio.ClosedResourceError):
            self.answer = await read_from(self.stream)
        self._done.set()

    async def result(self) -> Answer:
        with trio.fail_after(10):
            await self._done.wait()
        assert self.answer is not None
        return self.answer


async def park(nursery: trio.Nursery, service: Service, path: str) -> Poll:
    poll = Poll(nursery, await service.connect(path))
    await service.until_waiting(1)
    return poll


@pytest.mark.parametrize("default", ["clear", "set"])
async def test_an_event_wakes_a_poll(
    service: Service, nursery: trio.Nursery, key: str, default: str
) -> None:
    """The poll waits until a publisher sets the event, in both modes."""
    port = service.slock_port
    if default == "set":
        await clear_event(port, key, default)
    path = f"/poll/event?event={key}&default_type={default}"
    poll = await park(nursery, service, path)
    await set_event(port, key, default)
    answer = await poll.result()
    assert answer.body == b'{"err_code":0,"err_message":"succed"}'
    assert_uncached(answer)
    # The event keeps its state, so a reload succeeds again.
    assert (await service.get(path)).json == SUCCESS
    await service.until_waiting(0)


async def test_a_reset_event_is_waited_for_again(service: Service, key: str) -> None:
    """With wait_type=reset a successful wait puts the event back."""
    query = {"event": key, "wait_type": "reset", "timeout": 0.05}
    await set_event(service.slock_port, key)
    assert (await service.get("/poll/event", **query)).json == SUCCESS
    assert (await service.get("/poll/event", **query)).json["err_code"] == 504


async def test_resetting_an_initially_set_event(service: Service, key: str) -> None:
    """There the change that is put back is a clear."""
    query = {"event": key, "default_type": "set", "wait_type": "reset"}
    assert (await service.get("/poll/event", **query, timeout=5)).json == SUCCESS
    answer = await service.get("/poll/event", **query, timeout=0)
    assert answer.json == {"err_code": 504, "err_message": "wait event timeout"}


@pytest.mark.parametrize("seconds", [0, 0.05])
async def test_nothing_comes(service: Service, key: str, seconds: float) -> None:
    """A poll whose time is over says so, and leaves no waiter."""
    event = await service.get("/poll/event", event=key, timeout=seconds)
    assert event.body == b'{"err_code":504,"err_message":"wait event timeout"}'
    assert_uncached(event)
    message = await service.get("/poll/message", event=key, timeout=seconds)
    assert message.body == b'{"err_code":504,"err_message":"wait timeout"}'
    assert_uncached(message)
    await service.until_waiting(0)


async def test_a_message_that_is_there(
    service: Service, messages: redis.Redis, key: str
) -> None:
    """Messages are taken from the left, without waiting and without the event."""
    messages.rpush(key, "first", "zweite ü", b"\xff")
    bodies = [
        (await service.get("/poll/message", event=key)).body.decode("latin-1")
        for _ in range(3)
    ]
    assert bodies[0] == '{"err_code":0,"err_message":"","data":"first"}'
    assert "zweite ü".encode().decode("latin-1") in bodies[1]
    assert '"data":"\xff"' in bodies[2]
    assert not messages.exists(key)


async def test_a_message_that_is_waited_for(
    service: Service, messages: redis.Redis, nursery: trio.Nursery, key: str
) -> None:
    """Stored first, woken after: the parked poll takes the message."""
    poll = await park(nursery, service, f"/poll/message?event={key}")
    messages.rpush(key, "hello")
    await set_event(service.slock_port, key)
    answer = await poll.result()
    assert answer.body == b'{"err_code":0,"err_message":"succed","data":"hello"}'
    again = await service.get("/poll/message", event=key)
    assert again.body == b'{"err_code":0,"err_message":"succed","data":null}'


async def test_a_list_that_is_none(
    service: Service, messages: redis.Redis, key: str
) -> None:
    """A key of another type is an error of the pop, not of the server."""
    messages.set(key, "not a list")
    answer = await service.get("/poll/message", event=key)
    assert answer.json == {"err_code": 500, "err_message": "redis lpop fail"}
    assert messages.get(key) == b"not a list"


BAD_QUERIES = [
    ("", "event"),
    ("event=", "event"),
    ("event=a&event=b", "event"),
    ("event=%ff%fe", "event"),
    (f"event={'k' * 257}", "event"),
    ("event=a&timeout=abc", "timeout"),
    ("event=a&timeout=nan", "timeout"),
    ("event=a&timeout=inf", "timeout"),
    ("event=a&timeout=-1", "timeout"),
    ("event=a&timeout=1&timeout=2", "timeout"),
    ("event=a&default_type=up", "default_type"),
    ("event=a&wait_type=again", "wait_type"),
]


@pytest.mark.parametrize("endpoint", ["event", "message"])
@pytest.mark.parametrize(("query", "name"), BAD_QUERIES)
async def test_garbage_is_named(
    service: Service, endpoint: str, query: str, name: str
) -> None:
    """A parameter that cannot be used is 400, with its name in the message."""
    answer = await service.fetch(f"/poll/{endpoint}?{query}")
    assert_uncached(answer)
    assert answer.json["err_code"] == 400
    assert name in answer.json["err_message"]
    if query in ("", "event="):
        assert answer.json["err_message"] == "event key is empty"


@pytest.mark.parametrize("method", ["POST", "HEAD", "DELETE"])
async def test_other_methods_take_nothing(
    service: Service, messages: redis.Redis, key: str, method: str
) -> None:
    """Only GET may take a message."""
    messages.rpush(key, "stays")
    answer = await service.fetch(f"/poll/message?event={key}", method=method)
    assert answer.status == 405
    assert messages.lrange(key, 0, -1) == [b"stays"]


@pytest.mark.parametrize("farewell", ["FIN", "RST"])
async def test_a_client_that_leaves_ends_its_wait(
    service: Service, key: str, farewell: str
) -> None:
    """Here and on the slock server, at once."""
    stream = await service.connect(f"/poll/message?event={key}&timeout=60")
    await service.until_waiting(1)
    if farewell == "RST":
        linger = struct.pack("ii", 1, 0)
        stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    stream.socket.close()
    with trio.fail_after(2):
        await service.until_waiting(0)


@pytest.mark.slow
async def test_clients_that_leave_at_the_wake_lose_no_message(
    service: Service, messages: redis.Redis, key: str
) -> None:
    """Closed in the very moment of the wake: what was popped is back in its list.

    Each client leaves after a little longer, across the whole way of an answer. A
    message counts as delivered once its client could read it.
    """
    delivered = 0
    for number in range(60):
        name = f"{key}-{number}"
        stream = await service.connect(f"/poll/message?event={name}&timeout=60")
        await service.until_waiting(1)
        messages.rpush(name, f"{number}")
        await set_event(service.slock_port, name)
        await trio.sleep(number * 0.00005)
        if await leave(stream):
            delivered += 1
        else:
            # It is popped, or given back, as soon as the service has noticed.
            await eventually(partial(messages.llen, name))
    assert 0 < delivered < 60


async def leave(stream: trio.SocketStream) -> bool:
    """Stop sending, read what is under way, and return whether that was a message."""
    data = b""
    with trio.fail_after(5):
        async with stream:
            await stream.send_eof()
            async for chunk in stream:
                data += chunk
    return b'"data":"' in data


@pytest.mark.slow
@pytest.mark.parametrize(("server", "count"), [("triopoll", 2000), ("hypercorn", 400)])
async def test_two_thousand_polls(
    nursery: trio.Nursery, many_files: None, server: str, count: int
) -> None:
    """One set wakes them all; killed clients leave none on the server.

    Hypercorn does it too, but takes four times as long to accept them.
    """
    with running(server) as service:
        polls = await park_many(service, nursery, "woken", count)
        await set_event(service.slock_port, "woken")
        for poll in polls:
            assert (await poll.result()).json == SUCCESS
        await service.until_waiting(0)
        left = await park_many(service, nursery, "left", count)
        for poll in left:
            poll.stream.socket.close()
        await service.until_waiting(0)


@pytest.fixture
def many_files() -> None:
    import resource

    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def park_many(
    service: Service, nursery: trio.Nursery, key: str, count: int
) -> list[Poll]:
    polls = []
    for _ in range(count):
        stream = await service.connect(f"/poll/event?event={key}&timeout=100")
        polls.append(Poll(nursery, stream))
    await service.until_waiting(count)
    return polls


async def test_redis_cli_wakes_a_poll(service: Service, nursery: trio.Nursery) -> None:
    """The command of the README, word for word but for the port."""
    poll = await park(nursery, service, "/poll/message?event=test&default_type=clear")
    words = [
        "lock",
        "test",
        "lock_id",
        "test",
        "flag",
        "2",
        "timeout",
        "5",
        "expried",
        "120",
        "count",
        "2",
    ]
    command = [find_tool("redis-cli"), "-p", str(service.slock_port), *words]
    await trio.run_process(command, capture_stdout=True)
    assert (await poll.result()).json == SUCCESS | {"data": None}
    await clear_event(service.slock_port, "test")


@pytest.mark.slow
async def test_three_processes_and_pyslock(
    redis_server: RedisServer, nursery: trio.Nursery, key: str
) -> None:
    """A real Redis, a slock of its own, and the publisher that people have."""
    with slock_process() as (port, _):
        await wake_with_pyslock("127.0.0.1", port, key, redis_server, nursery)


@pytest.mark.live
@pytest.mark.slow
async def test_a_real_slock_and_pyslock(
    slock_address: tuple[str, int],
    redis_server: RedisServer,
    nursery: trio.Nursery,
    key: str,
) -> None:
    """The same with the real slock."""
    await wake_with_pyslock(*slock_address, key, redis_server, nursery)


PUBLISH = """
import asyncio, sys, types
asyncio.coroutine = types.coroutine  # pyslock 0.0.1 needs it to be imported
import pyslock
pyslock.Client(sys.argv[1], int(sys.argv[2])).Event(sys.argv[3], 5, 120, False).set()
"""


async def wake_with_pyslock(
    host: str, port: int, key: str, redis_server: RedisServer, nursery: trio.Nursery
) -> None:
    assert len(key) == 16  # pyslock cuts longer names
    slock_url = f"slock://{host}:{port}"
    with running(SLOCK_URL=slock_url, REDIS_URL=redis_server.url) as service:
        poll = await park(nursery, service, f"/poll/message?event={key}")
        with redis.Redis(port=redis_server.port) as messages:
            messages.rpush(key, "hello")
        await trio.run_process([sys.executable, "-c", PUBLISH, host, str(port), key])
        answer = await poll.result()
    assert answer.json == SUCCESS | {"data": "hello"}
