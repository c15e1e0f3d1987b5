"""Count the functions of this project that one operation calls.

    python bench/calls.py lock|server|event|poll [--names]

A count is the same on every machine, so a test can hold it (``tests/test_calls.py``);
a time is not. Counted are the "call" events of ``sys.setprofile`` on this thread whose
function is in ``src/``. The first runs are not counted: they fill caches.

- ``lock`` is one uncontended ``async with client.lock(key): pass`` over loopback TCP,
  on the client's side, its reader and writer included. Each time that a coroutine goes
  on counts as a call, too. The server is a process of its own.
- ``server`` is a GET with three headers on a connection that is kept alive, answered by
  an ASGI application that does nothing else: what the HTTP server itself needs.
- ``event`` is a ``GET /poll/event`` on such a connection that parks, is woken by the
  event, and is answered; otherwise as ``poll``.
- ``poll`` is a ``GET /poll/message`` on such a connection that finds its list empty,
  parks, is woken by the event, finds the message, and is answered: from the first byte
  read to the last written, with the trioslock client. slock is a process of its own,
  messages are in memory, and the query has been asked before. Background tasks and the
  publisher are left out.
"""

from __future__ import annotations

import argparse
import dis
import functools
import subprocess
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from statistics import median
from types import CodeType, FrameType
from typing import Any

import trio
import trio.testing

import trioslock
from triopoll.app import Triopoll
from triopoll.server import HttpServer, ServerSettings
from triopoll.server.lifespan import open_lifespan
from triopoll.settings import Settings

SOURCE = str(Path(trioslock.__file__).parents[1])
HOST = "127.0.0.1"
WARM_UP = 50
RUNS = 101
GET = b"GET %b HTTP/1.1\r\nHost: localhost\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n"

Names = Counter[str]
"""How often each function was called, by ``module.qualified_name``."""

# Tasks of the process that no request waits for.
BACKGROUND = ("SlockMonitor", "LogNotifier", "measure_loop_lag", "_close_idle")

_MARKED: ContextVar[bool] = ContextVar("_MARKED", default=False)
# The task in which other threads' calls of `trio.from_thread` and their like run.
_ENTRY_QUEUE = "<TrioToken.run_sync_soon task>"


class CallCounter:
    """Count calls, one run of an operation after the other.

    Attributes:
        runs: What was called in each run.
    """

    def __init__(self, *, resumptions: bool, only_marked: bool = False) -> None:
        """Count what is called, in one run after the other.

        Args:
            resumptions: Whether each time that a coroutine goes on counts as well.
            only_marked: Whether only tasks in which `mark_task` was called count, those
                that they start, and the calls that come from other threads.
        """
        self.runs: list[Names] = []
        self._resumptions = resumptions
        self._only_marked = only_marked

    async def count(
        self, operation: Callable[[], Awaitable[object]], runs: int = RUNS
    ) -> None:
        """Run an operation often, and count what this thread calls meanwhile.

        What its background tasks do between two runs counts for the later one.
        """
        for _ in range(WARM_UP):
            await operation()
        for _ in range(runs):
            with self.run():
                await operation()

    @contextmanager
    def run(self) -> Iterator[None]:
        """Count what this thread calls in the body of the `with`, as one run."""
        self.runs.append(Counter())
        sys.setprofile(self._note)
        try:
            yield
        finally:
            sys.setprofile(None)

    def within(self, package: str) -> int:
        """Return how many calls of a typical run were of a package's functions."""
        names = self.typical().items()
        return sum(n for name, n in names if name.startswith(f"{package}."))

    def typical(self) -> Names:
        """Return the run whose number of calls is the median."""
        return typical(self.runs)

    def _note(self, frame: FrameType, event: str, _arg: object) -> None:
        code = frame.f_code
        if event != "call" or not code.co_filename.startswith(SOURCE):
            return
        # A coroutine begins at its first RESUME, and goes on behind it.
        if not self._resumptions and frame.f_lasti > _start_of(code):
            return
        name = f"{frame.f_globals['__name__']}.{code.co_qualname}"
        if _is_marked() if self._only_marked else not _is_background(name):
            self.runs[-1][name] += 1


def mark_task() -> None:
    """Let a counter with `only_marked` count this task, and those that it starts."""
    _MARKED.set(True)


def _is_background(name: str) -> bool:
    return any(each in name for each in BACKGROUND)


def _is_marked() -> bool:
    return _MARKED.get() or trio.lowlevel.current_task().name == _ENTRY_QUEUE


@functools.cache
def _start_of(code: CodeType) -> int:
    instructions = dis.get_instructions(code)
    return next(each.offset for each in instructions if each.opname == "RESUME")


def typical(runs: list[Names]) -> Names:
    """Return the run whose number of calls is the median."""
    middle = median(run.total() for run in runs)
    return next(run for run in runs if run.total() == middle)


@contextmanager
def serving() -> Iterator[int]:
    """Run ``trioslock serve`` in a process of its own; yield its port."""
    command = [sys.executable, "-m", "trioslock", "serve", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield int(server.stdout.readline().rpartition(":")[2])
        finally:
            server.terminate()


def count_lock() -> Names:
    """Return the calls of one lock that is taken and released."""
    counter = CallCounter(resumptions=True)

    async def main(port: int) -> None:
        async with trioslock.open_client(f"slock://{HOST}:{port}") as client:

            async def lock() -> None:
                async with client.lock("bench"):
                    pass

            await counter.count(lock)

    with serving() as port:
        trio.run(main, port)
    return counter.typical()


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


async def ask(stream: trio.SocketStream, target: bytes) -> bytes:
    """Return the answer to a GET; each of these fits into one segment."""
    await stream.send_all(GET % target)
    answer = await stream.receive_some()
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n"), answer
    return bytes(answer)


async def count_over_http(
    app: Any, operate: Callable[[trio.SocketStream], Awaitable[object]]
) -> Names:
    """Count the calls of an operation on an application that `HttpServer` serves.

    Args:
        app: The ASGI application.
        operate: Does it once, over a connection to the server.
    """
    counter = CallCounter(resumptions=False)
    listeners = await trio.open_tcp_listeners(0, host=HOST)
    port = listeners[0].socket.getsockname()[1]
    server = HttpServer(app, ServerSettings())
    async with open_lifespan(app) as state, trio.open_nursery() as nursery:
        await nursery.start(server.accept, listeners, state)
        async with await trio.open_tcp_stream(HOST, port) as stream:
            await counter.count(lambda: operate(stream), runs=41)
        nursery.cancel_scope.cancel()
    return counter.typical()


def count_server() -> Names:
    """Return the calls of a request that the HTTP server itself needs."""

    async def operate(stream: trio.SocketStream) -> None:
        await ask(stream, b"/")

    return trio.run(count_over_http, hello, operate)


PUBLISHER = """
import sys, trio, trioslock
async def main():
    async with trioslock.open_client(sys.argv[1]) as client:
        event = client.event("bench", ttl=60)
        for line in sys.stdin:
            await (event.set() if line == "set\\n" else event.clear())
            print("done", flush=True)
trio.run(main)
"""


def count_event() -> Names:
    """Return the calls of one poll that parks and is woken."""
    return count_poll(b"/poll/event?event=bench")


def count_poll(target: bytes = b"/poll/message?event=bench") -> Names:
    """Return the calls of one poll that parks, is woken and takes a message."""
    with serving() as port:
        url = f"slock://{HOST}:{port}"
        app = Triopoll(Settings(slock_url=url, backend_limit=60))
        command = [sys.executable, "-c", PUBLISHER, url]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as publisher:
            assert publisher.stdin is not None
            assert publisher.stdout is not None

            def tell(what: str) -> None:
                publisher.stdin.write(what + "\n")  # type: ignore[union-attr]
                publisher.stdin.flush()  # type: ignore[union-attr]
                publisher.stdout.readline()  # type: ignore[union-attr]

            async def operate(stream: trio.SocketStream) -> None:
                store = app._services.poller._store  # type: ignore[union-attr]
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(ask, stream, target)
                    await trio.testing.wait_all_tasks_blocked(0.01)
                    # The list is filled behind the back of the counted functions.
                    sys.setprofile(None)
                    await store.push("bench", b"message")
                    sys.setprofile(counting)
                    await trio.to_thread.run_sync(tell, "set")
                await trio.to_thread.run_sync(tell, "clear")

            counting: Any = None

            async def operate_counting(stream: trio.SocketStream) -> None:
                nonlocal counting
                counting = sys.getprofile()
                await operate(stream)

            calls = trio.run(count_over_http, app, operate_counting)
            publisher.stdin.close()
    return calls


COMMANDS: dict[str, Callable[[], Names]] = {
    "lock": count_lock,
    "server": count_server,
    "event": count_event,
    "poll": count_poll,
}


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
