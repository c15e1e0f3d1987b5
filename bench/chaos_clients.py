"""The clients of `chaos.py`: readers over three transports, and publishers.

They disconnect at random points, reconnect to any server, and continue from the cursor
that they have stored. Each has its own random numbers, so a seed gives each client the
same plans whatever happens to the others.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import trio
from chaos_programs import HOST, Program
from chaos_tally import Arrived, Place, Progress, Tally, data_of
from trio_websocket import (
    ConnectionClosed,
    HandshakeError,
    WebSocketConnection,
    wrap_client_stream,
)

from triopoll.client import Gap, Message, Subscription, open_poll_client

# Seconds after the timeout of a poll within which the server must have answered.
PATIENCE = 20.0
PUBLISH_PATIENCE = 15.0
BATCH = 9
TROUBLES = (OSError, trio.BrokenResourceError, trio.TooSlowError)
WEBSOCKET_TROUBLES = (*TROUBLES, ConnectionClosed, HandshakeError)


class CutError(OSError):
    """The answer is missing or incomplete."""


class LeftError(Exception):
    """The client disconnected on purpose; the message says at which point."""


@dataclass
class Plan:
    """The settings that all clients share.

    Attributes:
        servers: The servers to choose from.
        tally: Counts the events of all clients.
        seed: Seed of the random numbers.
        leaving: Probability that a client disconnects during a request.
        headers: Further header lines of each request, each with its line end.
        is_calm: All faults are over. The last messages are published after that, so
            that none of them is lost and every reader sees where its key ends.
    """

    servers: Sequence[Program]
    tally: Tally
    seed: int
    leaving: float = 0.1
    headers: str = ""
    is_calm: trio.Event = field(default_factory=trio.Event)

    def rng(self, name: str) -> random.Random:
        return random.Random(f"{self.seed}/{name}")

    @property
    def patience(self) -> float:
        """Seconds after which a connection is left, on average; infinite for never."""
        return 1 / self.leaving if self.leaving else math.inf


async def pause(rng: random.Random, shape: object = None) -> None:
    """Wait before the next attempt: `retry_ms` (at most 1 s) and a random time."""
    asked = shape.get("retry_ms", 0) / 1000 if isinstance(shape, dict) else 0.0
    await trio.sleep(min(asked, 1.0) + rng.uniform(0.0, 0.4))


# --- HTTP --------------------------------------------------------------------------


class Exchange:
    """One request on its own connection; may disconnect at a random point."""

    def __init__(self, plan: Plan, rng: random.Random) -> None:
        self._plan = plan
        self._rng = rng

    async def ask(
        self, path: str, body: bytes | None = None, *, patience: float
    ) -> tuple[int, Any]:
        """Return status and JSON of the answer.

        Raises:
            LeftError: This client disconnected before it had the answer.
            OSError: The answer is missing or incomplete.
        """
        point = ""
        if self._rng.random() < self._plan.leaving:
            point = self._rng.choice(
                ["before the request", "in the request", "in the wait", "in the answer"]
            )
        port = self._rng.choice(self._plan.servers).port
        try:
            with trio.fail_after(patience):
                async with await trio.open_tcp_stream(HOST, port) as stream:
                    return await self._ask(
                        stream, point, _request(path, body, self._plan.headers)
                    )
        except (trio.BrokenResourceError, trio.TooSlowError) as error:
            raise CutError(repr(error)) from error

    async def _ask(
        self, stream: trio.SocketStream, point: str, request: bytes
    ) -> tuple[int, Any]:
        if point == "before the request":
            self._leave(point)
        if point == "in the request":
            await stream.send_all(request[: self._rng.randrange(len(request))])
            self._leave(point)
        await stream.send_all(request)
        if point == "in the wait":
            with trio.move_on_after(self._rng.expovariate(5)):
                await stream.receive_some(1)
            self._leave(point)
        if point == "in the answer":
            if await stream.receive_some(self._rng.randint(1, 1000)):
                self._leave(point)
            raise CutError("no answer")
        return _parsed(await _all_of(stream))

    def _leave(self, point: str) -> None:
        self._plan.tally.closes[point] += 1
        raise LeftError(point)


def _request(path: str, body: bytes | None, headers: str) -> bytes:
    head = f"{'GET' if body is None else 'POST'} {path} HTTP/1.1\r\nHost: {HOST}\r\n"
    head += headers
    if body is not None:
        head += f"Content-Length: {len(body)}\r\n"
    return (head + "Connection: close\r\n\r\n").encode() + (body or b"")


async def _all_of(stream: trio.SocketStream) -> bytes:
    data = bytearray()
    while more := await stream.receive_some():
        data += more
    return bytes(data)


def _parsed(answer: bytes) -> tuple[int, Any]:
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    length = b"content-length: %d" % len(body)
    if length not in lines:
        raise CutError("the answer is not whole")
    status = int(head.split()[1])
    # A proxy has pages of its own for its errors.
    is_json = b"content-type: application/json" in lines
    return status, json.loads(body) if is_json else None


# --- readers -----------------------------------------------------------------------


def _gone(lost: int | None) -> float:
    return math.inf if lost is None else lost


class Reader:
    """A client that follows one key until it has received all messages."""

    transport = ""

    def __init__(self, plan: Plan, name: str, key: str, total: int) -> None:
        self.progress = Progress(plan.tally, key, total, self.transport)
        self.plan = plan
        self.rng = plan.rng(name)

    async def begin_with_news(self) -> None:
        """Take the cursor at the end of the key, before any message."""
        exchange = Exchange(self.plan, self.rng)
        query = urlencode(
            {"key": self.progress.key, "cursor": "new", "timeout": "0", "max": 1}
        )
        while True:
            try:
                status, shape = await exchange.ask(
                    f"/v1/messages?{query}", patience=PATIENCE
                )
            except (LeftError, OSError):
                continue
            if status == 200:
                self.progress.place = Place(shape["cursor"], -1)
                return

    async def run(self) -> None:
        while not self.progress.is_complete:
            await self.attempt()

    async def attempt(self) -> None:
        raise NotImplementedError

    def take(self, shape: dict[str, Any]) -> bool:
        """Process a page and return True; or disconnect before storing its cursor."""
        before = self.progress.place
        self._take_page(shape)
        # Not after the last page: no further request would read it again.
        if self.rng.random() < self.plan.leaving / 2 and not self.progress.is_complete:
            self.progress.place = before
            self.plan.tally.closes["before the cursor was kept"] += 1
            return False
        return True

    def _take_page(self, shape: dict[str, Any]) -> None:
        messages = [Arrived(each["id"], each["data"]) for each in shape["messages"]]
        gone = _gone(shape["lost"]) if shape.get("code") == "gap" else None
        self.progress.take(messages, shape["cursor"], gone)


class PollReader(Reader):
    """Sends long polls by cursor, each on its own connection."""

    transport = "raw long poll"

    async def attempt(self) -> None:
        query = urlencode(
            {
                "key": self.progress.key,
                "cursor": self.progress.place.cursor,
                "timeout": f"{self.rng.uniform(0, 8):.3f}",
                "max": self.rng.choice([1, 10, 100]),
            }
        )
        shape: Any = None
        try:
            status, shape = await Exchange(self.plan, self.rng).ask(
                f"/v1/messages?{query}", patience=PATIENCE
            )
            if status == 200:
                self.take(shape)
                return
        except LeftError:
            return
        except OSError:
            pass
        await pause(self.rng, shape)


class WebSocketReader(Reader):
    """Follows a key over a websocket, and acknowledges each page."""

    transport = "raw websocket"

    async def attempt(self) -> None:
        port = self.rng.choice(self.plan.servers).port
        is_leaving = True
        try:
            # Disconnects in the handshake, in a page, or before an acknowledgement.
            with trio.move_on_after(self.rng.uniform(0.0, 1.5) * self.plan.patience):
                async with _websocket(port) as websocket:
                    await self._follow(websocket)
                is_leaving = False
        except* WEBSOCKET_TROUBLES:
            is_leaving = False
        if is_leaving:
            self.plan.tally.closes["somewhere in a websocket"] += 1
        elif not self.progress.is_complete:
            await pause(self.rng)

    async def _follow(self, websocket: WebSocketConnection) -> None:
        item = {
            "key": self.progress.key,
            "cursor": self.progress.place.cursor,
            "max": self.rng.choice([1, 10, 100]),
        }
        await _send(websocket, {"type": "subscribe", "messages": [item]})
        while not self.progress.is_complete:
            with trio.fail_after(60):
                frame = json.loads(await websocket.get_message())
            if frame["type"] == "ping":
                await _send(websocket, {"type": "pong"})
            elif frame["type"] == "messages":
                # A page must start at the cursor that was acknowledged last.
                if frame["after"] != item["cursor"] != "all":
                    self.plan.tally.disordered += 1
                if not self.take(frame):
                    return
                item["cursor"] = cursor = frame["cursor"]
                key = self.progress.key
                await _send(websocket, {"type": "ack", "key": key, "cursor": cursor})


async def _send(websocket: WebSocketConnection, frame: dict[str, Any]) -> None:
    await websocket.send_message(json.dumps(frame))


@asynccontextmanager
async def _websocket(port: int) -> AsyncIterator[WebSocketConnection]:
    """Open a websocket; at the end, close the connection without a close frame."""
    stream = await trio.open_tcp_stream(HOST, port)
    try:
        async with trio.open_nursery() as nursery:
            with trio.fail_after(PATIENCE):
                websocket = await wrap_client_stream(nursery, stream, HOST, "/v1/ws")
            yield websocket
            nursery.cancel_scope.cancel()
    finally:
        await trio.aclose_forcefully(stream)


class LibraryReader(Reader):
    """Uses `triopoll.client`, which falls back to websockets if polls are cut."""

    transport = "triopoll.client"

    def __init__(
        self, plan: Plan, name: str, key: str, total: int, through: Sequence[int]
    ) -> None:
        super().__init__(plan, name, key, total)
        self._port = self.rng.choice(through)
        self._gone: float | None = None

    async def attempt(self) -> None:
        url = f"http://{HOST}:{self._port}"
        cursor = self.progress.place.cursor
        self._gone = None
        async with (
            open_poll_client(url) as client,
            client.subscribe(
                self.progress.key, cursor=cursor, gaps="items", wait=8.0
            ) as subscription,
        ):
            while not self.progress.is_complete:
                # Cancelled anywhere; then continued, or replaced by a new subscription.
                with trio.move_on_after(self.rng.expovariate(0.5) * self.plan.patience):
                    await self._follow(subscription)
                    return
                self.plan.tally.closes["somewhere in triopoll.client"] += 1
                if self.rng.random() < 0.3:
                    return

    async def _follow(self, subscription: Subscription[Message | Gap]) -> None:
        async for item in subscription:
            before = self.progress.place
            transport = f"{self.transport} by {subscription.transport}"
            self.progress.transport = transport
            self._take(item, subscription.cursor)
            if self._forgets():
                self.progress.place = before
                return
            if self.progress.is_complete:
                return

    def _take(self, item: Message | Gap, cursor: str) -> None:
        if isinstance(item, Message):
            arrived = Arrived(item.id, item.data.decode())
            self.progress.take([arrived], cursor, self._gone)
            self._gone = None
        elif cursor == self.progress.place.cursor:
            # The gap is reported again with the next message after this cursor.
            self._gone = _gone(item.lost)
        else:
            self.progress.take([], cursor, _gone(item.lost))

    def _forgets(self) -> bool:
        forgets = self.rng.random() < self.plan.leaving / 20
        if forgets and not self.progress.is_complete:
            self.plan.tally.closes["before the cursor was kept"] += 1
            return True
        return False


class Balancer:
    """A listener in front of all servers; may cut polls, as some middleboxes do."""

    def __init__(self, plan: Plan, name: str, patience: float) -> None:
        self._servers = plan.servers
        self._rng = plan.rng(name)
        self._patience = patience

    async def run(self, *, task_status: trio.TaskStatus[int]) -> None:
        """Serve; `task_status.started` gets the port."""
        (listener,) = await trio.open_tcp_listeners(0, host=HOST)
        port: int = listener.socket.getsockname()[1]
        async with trio.open_nursery() as nursery:
            task_status.started(port)
            await trio.serve_listeners(self._carry, [listener], handler_nursery=nursery)

    async def _carry(self, client: trio.SocketStream) -> None:
        try:
            async with client, await self._server() as server:
                async with trio.open_nursery() as nursery:
                    watch = trio.CancelScope()
                    nursery.start_soon(self._requests, client, server, watch)
                    with watch:
                        await self._answers(server, client, watch)
                    nursery.cancel_scope.cancel()
        except* TROUBLES:
            pass  # the other end sees that the connection is closed

    async def _server(self) -> trio.SocketStream:
        first, *others = self._rng.sample(self._servers, len(self._servers))
        try:
            return await trio.open_tcp_stream(HOST, first.port)
        except OSError:
            return await trio.open_tcp_stream(HOST, self._rng.choice(others).port)

    async def _requests(
        self,
        client: trio.SocketStream,
        server: trio.SocketStream,
        watch: trio.CancelScope,
    ) -> None:
        is_upgrade = False
        while data := await client.receive_some():
            is_upgrade = is_upgrade or b"/v1/ws" in data
            if not is_upgrade:
                watch.deadline = trio.current_time() + self._patience
            await server.send_all(data)
        watch.cancel()

    async def _answers(
        self,
        server: trio.SocketStream,
        client: trio.SocketStream,
        watch: trio.CancelScope,
    ) -> None:
        while data := await server.receive_some():
            watch.deadline = float("inf")
            await client.send_all(data)


async def kept_numbers(exchange: Exchange, key: str) -> set[int]:
    """Return the numbers of all messages that a key has now."""
    numbers: set[int] = set()
    cursor = "all"
    while True:
        query = urlencode({"key": key, "cursor": cursor, "timeout": "0", "max": 1000})
        status, page = await exchange.ask(f"/v1/messages?{query}", patience=PATIENCE)
        if status != 200:
            raise CutError(f"{key} cannot be read: {page}")
        if not page["messages"]:
            return numbers
        for message in page["messages"]:
            numbers.add(int(message["data"].rpartition("/")[2]))
        cursor = page["cursor"]


# --- publishers --------------------------------------------------------------------


class Publisher:
    """Publishes all messages of one key; repeats each publish until it is answered."""

    def __init__(self, plan: Plan, key: str, total: int, seconds: float) -> None:
        self._plan = plan
        self._key = key
        self._total = total
        self._rng = plan.rng(f"publisher of {key}")
        self._interval = seconds * (BATCH + 1) / 2 / total
        self._exchange = Exchange(plan, self._rng)

    async def run(self) -> None:
        number = 0
        while number < self._total:
            until = min(number + self._rng.randint(1, BATCH), self._total)
            if until == self._total:
                await self._plan.is_calm.wait()
            await self.publish(range(number, until))
            number = until
            await trio.sleep(self._rng.uniform(0.0, 2 * self._interval))

    async def publish(self, numbers: Sequence[int]) -> None:
        """Publish messages in one request, which is repeated until it is answered."""
        texts = [data_of(self._key, number) for number in numbers]
        items = [{"key": self._key, "data": text, "id": text} for text in texts]
        body = json.dumps({"items": items}).encode()
        while not await self._is_published(texts, body):
            await pause(self._rng)

    async def _is_published(self, texts: Sequence[str], body: bytes) -> bool:
        count = self._plan.tally.published
        try:
            status, shape = await self._exchange.ask(
                "/v1/publish", body, patience=PUBLISH_PATIENCE
            )
        except LeftError:
            count["left before the answer"] += 1
            return False
        except OSError:
            count["without an answer"] += 1
            return False
        count[f"status {status}"] += 1
        if status not in (200, 202) or any("id" not in it for it in shape["items"]):
            return False
        for text, item in zip(texts, shape["items"], strict=True):
            self._plan.tally.know(text, item["id"])
            count["messages stored"] += not item["duplicate"]
            count["messages stored before"] += item["duplicate"]
        return True
