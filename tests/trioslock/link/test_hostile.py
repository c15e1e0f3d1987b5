"""Servers that are broken, hostile or silent: named errors, and in time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio
from trio.testing import MockClock, memory_stream_pair, wait_all_tasks_blocked

from trioslock import (
    Client,
    ConnectionLost,
    Data,
    LockError,
    NoLeader,
    RemoteProtocolError,
    ServerError,
    SlockError,
)
from trioslock.client import open_session_client
from trioslock.link import Backoff, SessionSettings, connector
from trioslock.protocol import (
    FRAME_SIZE,
    CallCommand,
    CallResult,
    Command,
    CommandType,
    InitCommand,
    InitResult,
    LockCommand,
    LockResult,
    PlainCommand,
    PlainResult,
    Result,
    ServerSide,
    encode_result,
)
from trioslock.transport import READ_SIZE, StreamTransport

HEARTBEAT = 2.0
LOCK, UNLOCK = int(CommandType.LOCK), int(CommandType.UNLOCK)
Answer = Callable[[Command], bytes]


def granted(command: LockCommand, code: int = 0, data: bytes | None = None) -> bytes:
    return encode_result(
        LockResult(
            command.type,
            command.request_id,
            code,
            0,
            command.db,
            command.lock_id,
            command.key,
            1,
            command.max_count,
            1,
            command.rcount,
            data,
        )
    )


def polite(command: Command) -> bytes:
    """What a server without any state answers."""
    if isinstance(command, InitCommand):
        return encode_result(InitResult(command.request_id, 0, 1))
    if isinstance(command, LockCommand):
        return granted(command)
    if isinstance(command, CallCommand):
        return encode_result(CallResult(command.request_id, 0, 0, 0, 0, "", b""))
    assert isinstance(command, PlainCommand)
    return encode_result(PlainResult(command.type, command.request_id, 0))


def answering(change: Callable[[LockCommand], bytes]) -> Answer:
    """Polite, but for its answers to LOCK."""

    def answer(command: Command) -> bytes:
        if isinstance(command, LockCommand) and command.type == LOCK:
            return change(command)
        return polite(command)

    return answer


class HostileServer:
    """Answers each command with whatever bytes a test wants.

    Args:
        answer: From a command to the bytes of its answer.
        cut_after: Bytes after which the first connection is closed.
    """

    def __init__(
        self, nursery: trio.Nursery, answer: Answer, cut_after: int | None
    ) -> None:
        self._nursery = nursery
        self._answer = answer
        self._cut_after = cut_after
        self.connections = 0
        self.streams: list[Any] = []

    async def open_transport(self) -> StreamTransport:
        await trio.lowlevel.checkpoint()
        ours, theirs = memory_stream_pair()
        self.connections += 1
        self.streams.append(theirs)
        self._nursery.start_soon(self._serve, theirs)
        return StreamTransport(ours)

    async def _serve(self, stream: Any) -> None:
        side = ServerSide()
        left, self._cut_after = self._cut_after, None
        try:
            while data := bytes(await stream.receive_some(READ_SIZE)):
                side.receive_data(data)
                while isinstance(command := side.next_event(), tuple):
                    reply = self._answer(command)
                    if left is not None:
                        reply, left = reply[:left], left - len(reply)
                    if reply:
                        await stream.send_all(reply)
                    if left is not None and left <= 0:
                        await stream.aclose()
                        return
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass


@asynccontextmanager
async def open_hostile(
    nursery: trio.Nursery,
    answer: Answer,
    *,
    cut_after: int | None = None,
    backoff: Backoff | None = None,
    wait_connected: bool = True,
) -> AsyncIterator[tuple[Client, HostileServer]]:
    settings = SessionSettings(
        client_id=b"c" * 16,
        session_ttl=3,
        close_grace=1,
        connect_timeout=1,
        backoff=backoff,
    )
    server = HostileServer(nursery, answer, cut_after)
    connect = connector(server.open_transport, heartbeat=HEARTBEAT)
    async with open_session_client(
        connect, settings, wait_connected=wait_connected
    ) as client:
        yield client, server


@pytest.fixture
def hostile(nursery: trio.Nursery) -> Any:
    """Opens clients of hostile servers, whose tasks run outside of the test."""
    return partial(open_hostile, nursery)


def named(error: BaseException) -> bool:
    return isinstance(error, SlockError | trio.WouldBlock)


async def outcome_of(operation: Callable[[], Awaitable[object]]) -> object:
    """Return what it returned or the named error that it raised."""
    with trio.fail_after(20):
        try:
            return await operation()
        except (SlockError, trio.WouldBlock) as error:
            return error


async def body(client: Client) -> None:
    async with client.lock("k"):
        await trio.lowlevel.checkpoint()


# Result codes.


@pytest.mark.parametrize("code", range(256))
async def test_every_result_code_is_an_answer_to_a_lock(
    autojump_clock: MockClock, hostile: Any, code: int
) -> None:
    """A named error each, also of the codes that do not exist."""
    async with hostile(answering(lambda c: granted(c, code))) as (client, _):
        for operation in (
            client.lock("k").acquire,
            client.lock("k").try_acquire,
            client.rlock("k").acquire,
            client.event("e", ttl=9).wait,
            client.event("e", ttl=9).is_set,
            client.event("e", ttl=9).clear,
            client.group_event("g", ttl=9).wait,
            client.value("v").get,
            client.token_bucket("b", 1, 1).try_acquire,
            client.tree("t").try_acquire,
        ):
            outcome = await outcome_of(operation)
            if isinstance(outcome, BaseException):
                assert named(outcome)
        if code:
            assert isinstance(await outcome_of(client.lock("k").acquire), SlockError)
        statistics = client.statistics()
        assert statistics.in_flight == statistics.unsettled == 0


@pytest.mark.parametrize("code", range(256))
async def test_every_result_code_is_an_answer_to_an_unlock(
    autojump_clock: MockClock, hostile: Any, code: int
) -> None:
    def answer(command: Command) -> bytes:
        if isinstance(command, LockCommand) and command.type == UNLOCK:
            return granted(command, code)
        return polite(command)

    async with hostile(answer) as (client, _):
        outcome = await outcome_of(lambda: body(client))
        assert outcome is None if code == 0 else isinstance(outcome, SlockError)
        grant = await client.lock("k").acquire()
        outcome = await outcome_of(grant.release)
        assert outcome is None if code == 0 else isinstance(outcome, SlockError)
        assert client.statistics().in_flight == client.statistics().held == 0


# The handshake.


@pytest.mark.parametrize(
    ("code", "error"),
    [(10, NoLeader), (11, ServerError), (3, ServerError), (200, ServerError)],
)
async def test_a_refused_handshake_says_why(
    autojump_clock: MockClock, hostile: Any, code: int, error: type[SlockError]
) -> None:
    def answer(command: Command) -> bytes:
        return encode_result(InitResult(command.request_id, code, 0))

    with pytest.raises(ConnectionLost) as caught:
        async with hostile(answer):
            raise AssertionError("the body ran")
    assert type(caught.value.__cause__) is error


@pytest.mark.parametrize(
    "garbage",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n" * 4,
        b"-ERR unknown command\r\n" * 9,
        bytes(64),
        b"\x56\x01\x63" + bytes(61),
        encode_result(PlainResult(5, bytes(16), 0)),
    ],
)
async def test_garbage_before_the_handshake_is_named(
    autojump_clock: MockClock, hostile: Any, garbage: bytes
) -> None:
    with pytest.raises(ConnectionLost) as caught:
        async with hostile(lambda command: garbage + polite(command)):
            raise AssertionError("the body ran")
    assert isinstance(caught.value.__cause__, RemoteProtocolError)


async def test_a_silent_handshake_ends(autojump_clock: MockClock, hostile: Any) -> None:
    started_at = trio.current_time()
    with pytest.raises(ConnectionLost):
        async with hostile(lambda command: b""):
            raise AssertionError("the body ran")
    assert trio.current_time() - started_at <= 1 + 1


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(lambda c: b"", id="silence"),
        pytest.param(lambda c: b"x" * 64, id="garbage"),
        pytest.param(
            lambda c: encode_result(InitResult(c.request_id, 10, 0)), id="refusal"
        ),
    ],
)
async def test_a_client_that_gives_up_says_connection_lost(
    autojump_clock: MockClock, hostile: Any, answer: Answer
) -> None:
    """To each request by an error of its own, whatever the trouble was."""
    async with hostile(answer, wait_connected=False) as (client, _):
        errors = []
        for _ in range(3):
            with pytest.raises(ConnectionLost) as caught:
                await client.lock("k").acquire()
            errors.append(caught.value)
        assert len(set(map(id, errors))) == 3
        assert all(isinstance(error.__cause__, Exception) for error in errors)


# Bytes.


@pytest.mark.slow
async def test_a_close_at_every_byte(autojump_clock: MockClock, hostile: Any) -> None:
    """The wait is asked for again on the next connection, whatever was read."""
    end = 3 * FRAME_SIZE
    for cut_after in range(FRAME_SIZE + 1, end + 1):
        async with hostile(
            polite, cut_after=cut_after, backoff=Backoff(first=0.01)
        ) as (client, server):
            assert await outcome_of(lambda client=client: body(client)) is None
            await wait_all_tasks_blocked()
            await client.wait_connected()
            assert client.statistics().in_flight == client.statistics().held == 0
            assert server.connections == 2


@pytest.mark.parametrize("cut_after", range(1, FRAME_SIZE))
async def test_a_close_in_the_handshake(
    autojump_clock: MockClock, hostile: Any, cut_after: int
) -> None:
    with pytest.raises(ConnectionLost):
        async with hostile(polite, cut_after=cut_after):
            raise AssertionError("the body ran")


async def test_data_that_is_announced_and_never_sent_ends_by_the_heartbeat(
    autojump_clock: MockClock,
    hostile: Any,
) -> None:
    def change(command: LockCommand) -> bytes:
        frame = bytearray(granted(command))
        frame[20] |= 0x20
        return bytes(frame)

    def answer(command: Command) -> bytes:
        if isinstance(command, PlainCommand):
            return b""
        return answering(change)(command)

    async with hostile(answer) as (client, _):
        started_at = trio.current_time()
        outcome = await outcome_of(client.lock("k").acquire)
        assert isinstance(outcome, ConnectionLost)
        assert trio.current_time() - started_at <= 2 * HEARTBEAT + 1


@pytest.mark.parametrize("size", [0x10_0001, 0xFFFF_FFFF])
async def test_data_of_an_impossible_size_is_refused_at_once(
    autojump_clock: MockClock, hostile: Any, size: int
) -> None:
    def change(command: LockCommand) -> bytes:
        return granted(command, data=size.to_bytes(4, "little"))

    async with hostile(answering(change)) as (client, _):
        started_at = trio.current_time()
        outcome = await outcome_of(client.lock("k").acquire)
        assert isinstance(outcome, ConnectionLost)
        assert trio.current_time() - started_at < 1


async def test_silence_ends_by_the_heartbeat(
    autojump_clock: MockClock, hostile: Any
) -> None:
    def answer(command: Command) -> bytes:
        return polite(command) if isinstance(command, InitCommand) else b""

    async with hostile(answer) as (client, _):
        started_at = trio.current_time()
        assert isinstance(await outcome_of(client.ping), ConnectionLost)
        assert trio.current_time() - started_at <= 2 * HEARTBEAT + 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "frame",
    [
        encode_result(PlainResult(5, b"?" * 16, 0)),
        encode_result(InitResult(b"?" * 16, 0, 1)),
        encode_result(
            LockResult(1, b"?" * 16, 9, 0, 0, b"l" * 16, b"k" * 16, 0, 0, 0, 0)
        ),
        encode_result(
            LockResult(12, b"?" * 16, 9, 0, 0, b"l" * 16, b"k" * 16, 0, 0, 0, 0)
        ),
        encode_result(CallResult(b"?" * 16, 0, 0, 0, 0, "", b"x" * 5000)),
    ],
    ids=["pong", "init", "expired", "published", "call"],
)
async def test_a_flood_of_unasked_frames_is_counted_and_forgotten(
    autojump_clock: MockClock, hostile: Any, frame: bytes
) -> None:
    """Requests go on between them; nothing of the flood is kept."""

    def flooding(command: Command) -> bytes:
        if isinstance(command, InitCommand):
            return polite(command)
        return frame * 100 + polite(command) + frame * 100

    async with hostile(flooding) as (
        client,
        server,
    ):
        for _ in range(20):
            assert await outcome_of(lambda: body(client)) is None
        await client.ping()
        statistics = client.statistics()
        assert statistics.in_flight == statistics.held == statistics.unsettled == 0
        assert server.connections == 1


# Ids and types.


def mangled(frame: bytes, offset: int, value: int) -> bytes:
    return frame[:offset] + bytes((value,)) + frame[offset + 1 :]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda c: mangled(granted(c), 5, 0xAA), id="unknown id"),
        pytest.param(lambda c: mangled(granted(c), 2, 2), id="as UNLOCK"),
        pytest.param(lambda c: mangled(granted(c), 2, 5), id="as PING"),
        pytest.param(lambda c: mangled(granted(c), 2, 0), id="as INIT"),
        pytest.param(lambda c: mangled(granted(c), 2, 12), id="as PUBLISH"),
    ],
)
async def test_an_answer_to_something_else_is_none(
    autojump_clock: MockClock, hostile: Any, change: Callable[[LockCommand], bytes]
) -> None:
    """It wakes no task, and the wait can be cancelled as any other."""
    async with hostile(answering(change)) as (client, _):
        with trio.move_on_after(7) as scope:
            await client.lock("k").acquire()
        assert scope.cancelled_caught
        assert client.statistics().held == 0
        assert client.statistics().connected
    # The withdrawal gets no second answer, so the end waits for the grace, no longer.


async def test_answers_that_come_twice_or_thrice(
    autojump_clock: MockClock, hostile: Any
) -> None:
    async with hostile(lambda command: polite(command) * 3) as (client, _):
        for _ in range(5):
            assert await outcome_of(lambda: body(client)) is None
        await client.ping()
        assert client.statistics().in_flight == client.statistics().held == 0
        assert client.statistics().strays > 0


async def test_answers_in_reverse_order(
    autojump_clock: MockClock, hostile: Any
) -> None:
    """Each finds its request."""
    asked: list[LockCommand] = []

    def change(command: LockCommand) -> bytes:
        asked.append(command)
        if len(asked) % 10:
            return b""
        return b"".join(granted(one) for one in reversed(asked[-10:]))

    async with hostile(answering(change)) as (client, _):
        ids: set[bytes] = set()

        async def take() -> None:
            grant = await client.lock("k").acquire()
            ids.add(grant.lock_id)
            await grant.release()

        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                for _ in range(10):
                    nursery.start_soon(take)
        assert ids == {command.lock_id for command in asked}


# Values and lists.

_CUT_ARRAY = b"\xff\xff\xff\x7fab"


@pytest.mark.parametrize("flag", [2, 4])
async def test_a_malformed_value_is_the_error_of_who_reads_it(
    autojump_clock: MockClock, hostile: Any, flag: int
) -> None:
    """The grant it came with is held and released as any other."""
    frame = Data(_CUT_ARRAY, flag=flag).encode()

    async with hostile(answering(lambda c: granted(c, data=frame))) as (client, _):
        async with client.lock("k") as grant:
            data = grant.data
            assert data is not None
            with pytest.raises(RemoteProtocolError):
                assert data.value
        for operation in (client.value("v").get, lambda: client.value("v").pop()):
            outcome = await outcome_of(operation)
            assert isinstance(outcome, BaseException | Data | tuple | None)
        assert client.statistics().connected
        assert client.statistics().held == 0


@pytest.mark.parametrize(
    "content", [b"\xff" * 30, b"\x0a\xff\xff\xff\xff\x0f", b"\x0a\x02\x08", b"\x08\x01"]
)
async def test_a_malformed_list_is_named(
    autojump_clock: MockClock, hostile: Any, content: bytes
) -> None:
    def answer(command: Command) -> bytes:
        if isinstance(command, CallCommand):
            return encode_result(
                CallResult(command.request_id, 0, 0, 0, 0, "", content)
            )
        return polite(command)

    async with hostile(answer) as (client, _):
        for operation in (
            lambda: client.holders("k"),
            lambda: client.waiters("k"),
            client.keys,
        ):
            outcome = await outcome_of(operation)
            assert isinstance(outcome, RemoteProtocolError | list)
        assert client.statistics().connected


async def test_a_call_that_fails_is_named(
    autojump_clock: MockClock, hostile: Any
) -> None:
    def answer(command: Command) -> bytes:
        if isinstance(command, CallCommand):
            result: Result = CallResult(
                command.request_id, 77, 0, 0, 0, "ERR_SOMETHING", b""
            )
            return encode_result(result)
        return polite(command)

    async with hostile(answer) as (client, _):
        assert isinstance(
            await outcome_of(lambda: client.holders("k")), ServerError | LockError
        )
