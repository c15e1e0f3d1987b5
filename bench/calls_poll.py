"""Count the functions of this project that one HTTP request calls.

    python bench/calls_poll.py server|poll [--names]

Counted are the "call" events of ``sys.setprofile`` in the task of the request's
connection whose function is in ``src/``, from the first byte that is read to the last
that is written: each call of a function, and each time that a coroutine or a generator
goes on. The first runs are not counted: they fill caches.

- ``server`` is a GET with three headers on a connection that is kept alive, answered by
  an ASGI application that does nothing else: what the HTTP server itself needs.
- ``poll`` is a ``/poll/message`` that parks, and whose message is published while it is
  parked, on another connection. The engine is embedded, messages are in memory.
"""

from __future__ import annotations

import argparse
import socket
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median
from types import FrameType
from typing import Any

import trio
import trio.testing

import trioslock
from triopoll.app import Triopoll
from triopoll.asgi.guest import GuestApp
from triopoll.server import HttpServer, ServerSettings
from triopoll.server.lifespan import open_lifespan
from triopoll.settings import Settings

SOURCE = str(Path(trioslock.__file__).parents[1])
HOST = "127.0.0.1"
WARM_UP = 20
RUNS = 41

GET = b"GET %b HTTP/1.1\r\nHost: localhost\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n"
POST = b'POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Length: 7\r\n\r\n{"n":1}'

Names = Counter[str]
"""How often each function was called, by ``module.qualified_name``."""


class CallCounter:
    """Count the calls of one trio task, one run after the other.

    Attributes:
        task: The only task whose calls are counted; None counts none.
        runs: What was called in each run.
    """

    def __init__(self) -> None:
        self.task: trio.lowlevel.Task | None = None
        self.runs: list[Names] = []
        self._answered = False

    async def count(self, operation: Callable[[], Awaitable[object]]) -> None:
        """Run an operation often, and count what the task calls meanwhile."""
        for number in range(WARM_UP + RUNS):
            self.runs.append(Counter())
            self._answered = False
            sys.setprofile(self._note if number >= WARM_UP else None)
            try:
                await operation()
            finally:
                sys.setprofile(None)
        del self.runs[:WARM_UP]

    def watch(self, app: Any) -> Any:
        """Return the application, with the task of its GET requests being counted."""

        async def watched(scope: Any, receive: Any, send: Any) -> None:
            async def watched_send(message: Any) -> None:
                await send(message)
                self._answered = message["type"] == "http.response.body"

            if scope.get("method") != "GET":
                await app(scope, receive, send)
            else:
                self.task = trio.lowlevel.current_task()
                await app(scope, receive, watched_send)

        return watched

    def typical(self) -> Names:
        """Return the run whose number of calls is the median."""
        middle = median(run.total() for run in self.runs)
        return next(run for run in self.runs if run.total() == middle)

    def _note(self, frame: FrameType, event: str, _arg: object) -> None:
        code = frame.f_code
        if (
            event == "call"
            and code.co_filename.startswith(SOURCE)
            and not self._answered
            and trio.lowlevel.current_task() is self.task
        ):
            self.runs[-1][f"{frame.f_globals['__name__']}.{code.co_qualname}"] += 1


async def hello(scope: Any, receive: Any, send: Any) -> None:
    """Answer; read the body first, as every endpoint does."""
    if scope["type"] == "lifespan":
        for what in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{what}.complete"})
        return
    await receive()
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"5")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"hello"})


async def ask(stream: trio.SocketStream, request: bytes) -> bytes:
    """Return the answer to a request; each of these fits into one segment."""
    await stream.send_all(request)
    answer = await stream.receive_some()
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n"), answer
    return answer


async def count_over_http(
    app: Any, path: bytes, publish_path: bytes | None = None
) -> Names:
    """Count the calls of one request to an application that `HttpServer` serves.

    Args:
        app: The ASGI application.
        path: What is asked for. ``%d`` in it is the number of the run.
        publish_path: What is posted to when the request is parked.
    """
    counter = CallCounter()

    async def run(first: trio.SocketStream, second: trio.SocketStream) -> None:
        number = len(counter.runs)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, first, GET % (path % number))
            if publish_path is not None:
                await trio.testing.wait_all_tasks_blocked(0.01)
                await ask(second, POST % (publish_path % number))
        await trio.testing.wait_all_tasks_blocked(0.01)

    listeners = await trio.open_tcp_listeners(0, host=HOST)
    port = listeners[0].socket.getsockname()[1]
    server = HttpServer(counter.watch(app), ServerSettings())
    async with open_lifespan(app) as state, trio.open_nursery() as nursery:
        await nursery.start(server.accept, listeners, state)
        async with (
            await trio.open_tcp_stream(HOST, port) as first,
            await trio.open_tcp_stream(HOST, port) as second,
        ):
            await counter.count(lambda: run(first, second))
        nursery.cancel_scope.cancel()
    return counter.typical()


def count_server() -> Names:
    """Return the calls of a request that the HTTP server itself needs."""
    return trio.run(count_over_http, hello, b"/%d")


def count_poll() -> Names:
    """Return the calls of one poll that parks, is woken and takes a message."""
    with socket.create_server((HOST, 0)) as sock:
        port = sock.getsockname()[1]
    app = GuestApp(Triopoll(Settings(slock_url=f"embedded://{HOST}:{port}")))
    wait, publish = b"/poll/message?event=e%d", b"/poll/message/send?event=e%d"
    return trio.run(count_over_http, app, wait, publish)


COMMANDS: dict[str, Callable[[], Names]] = {"server": count_server, "poll": count_poll}


def main() -> None:
    """Print the number of calls, and on demand which functions they are of."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("operation", choices=COMMANDS)
    parser.add_argument("--names", action="store_true", help="print each function")
    options = parser.parse_args()
    calls = COMMANDS[options.operation]()
    if options.names:
        for name, number in calls.most_common():
            print(f"{number:5}  {name}")
    print(f"{options.operation}: {calls.total()} calls")


if __name__ == "__main__":
    main()
