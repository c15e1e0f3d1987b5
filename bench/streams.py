"""Measure live readers of one stream, beside readers of one key by ``/v1/messages``.

    python bench/streams.py [--readers 2000] [--appends 100] [--slock-binary PATH]

One worker of ``triopoll serve`` with its own Redis and slock server. Many readers
follow one stream; an append is sent once all of them have the one before. The
program fails if a reader gets one of them not at all or twice. The baseline is the same
by long polls of ``/v1/messages``, in the same run.

- *CPU per delivery*: CPU time of the worker for one append and one reader, with the
  request that a long poll sends next.
- *append to last reader*: until all readers have it; this includes the time of the
  process that reads for all.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import select
import socket
import statistics
import time
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from multiprocessing.connection import Connection
from typing import NamedTuple

from openresty import cpu_seconds
from parked import Servers, servers
from poll import HOST, request
from results import Table, add_results_option, save

# Stands in each message once, and nowhere else.
MARK = b"~"
STREAM, MESSAGES = "/v1/stream/feed", "/v1/messages?key=feed"
NO_LIMITS = {"TRIOPOLL_REQUESTS_PER_IP": "0", "TRIOPOLL_WAITS_PER_IP": "0"}
# A response of server-sent events lasts for the whole run.
NO_LIMITS |= {"TRIOPOLL_SSE_LIFETIME": "600", "TRIOPOLL_STREAM_TIMEOUT": "300"}


class Kind(NamedTuple):
    """A way to read.

    Attributes:
        name: For the table.
        first: The path of the first request.
        following: Returns the path of the next one from a response's head and body;
            None if there is one response only.
        method: How a message is sent.
        path: Where to.
    """

    name: str
    first: str
    following: Callable[[dict[str, str], bytes], str] | None
    method: str
    path: str


class Figures(NamedTuple):
    """The results of one way to read, in seconds."""

    cpu: float
    median: float
    last: float


def next_messages(_: dict[str, str], body: bytes) -> str:
    return f"{MESSAGES}&timeout=55&cursor={json.loads(body)['cursor']}"


def next_of_stream(head: dict[str, str], _: bytes) -> str:
    offset, cursor = head["stream-next-offset"], head["stream-cursor"]
    return f"{STREAM}?live=long-poll&offset={offset}&cursor={cursor}"


BASELINE = "/v1/messages, long polls"
PUBLISH, APPEND = ("POST", "/v1/publish"), ("POST", STREAM)
KINDS = (
    Kind(BASELINE, f"{MESSAGES}&cursor=new&timeout=55", next_messages, *PUBLISH),
    Kind("/v1/messages, events", f"{MESSAGES}&cursor=new&live=sse", None, *PUBLISH),
    Kind(
        "/v1/stream, long polls",
        f"{STREAM}?offset=now&live=long-poll",
        next_of_stream,
        *APPEND,
    ),
    Kind("/v1/stream, events", f"{STREAM}?offset=now&live=sse", None, *APPEND),
)


def send(port: int, method: str, path: str, body: bytes = b"") -> None:
    headers = {"Content-Type": "application/json"}
    url = f"http://{HOST}:{port}{path}"
    with urllib.request.urlopen(
        urllib.request.Request(url, body, headers, method=method), timeout=60
    ) as response:
        response.read()


def message(kind: Kind, number: int) -> bytes:
    data = f"{MARK.decode()}{number:060}"
    if kind.path == STREAM:
        return json.dumps(data).encode()
    return json.dumps({"items": [{"key": "feed", "data": data}]}).encode()


class Reader:
    """One connection, and how many messages have come by it."""

    def __init__(self, port: int, kind: Kind) -> None:
        self.sock = socket.create_connection((HOST, port), 30)
        self.sock.sendall(request(kind.first))
        self.count = 0
        self._kind = kind
        self._data = b""

    def read(self) -> None:
        """Take what has come; send the next long poll after a whole response."""
        piece = self.sock.recv(65536)
        if not piece:
            raise SystemExit(f"a reader was cut: {self._data!r}")
        self.count += piece.count(MARK)
        if self._kind.following is None:
            return
        self._data += piece
        head, end, body = self._data.partition(b"\r\n\r\n")
        lines = head.decode().lower().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines[1:] if ": " in line)
        if end and len(body) == int(headers.get("content-length", 0)):
            self._data = b""
            self.sock.sendall(request(self._kind.following(headers, body)))


def read_all(
    port: int, kind: Kind, options: argparse.Namespace, to: Connection
) -> None:
    """Read for all; report when all are connected, and when all have each message."""
    epoll = select.epoll()
    readers: dict[int, Reader] = {}
    for number in range(options.readers):
        reader = Reader(port, kind)
        readers[reader.sock.fileno()] = reader
        epoll.register(reader.sock.fileno(), select.EPOLLIN)
        if number % 200 == 199:
            time.sleep(0.1)  # lets the service accept the connections
    to.send("connected")
    for round_number in range(1, options.appends + 2):
        left = sum(reader.count < round_number for reader in readers.values())
        while left:
            for descriptor, _ in epoll.poll(60):
                reader = readers[descriptor]
                before = reader.count
                reader.read()
                left -= before < round_number <= reader.count
        if any(reader.count != round_number for reader in readers.values()):
            raise SystemExit("a message has come twice, or before its time")
        to.send(round_number)
    to.recv()


def measure(running: Servers, kind: Kind, options: argparse.Namespace) -> Figures:
    ours, theirs = multiprocessing.Pipe()
    args = running.port, kind, options, theirs
    process = multiprocessing.Process(target=read_all, args=args)
    process.start()
    theirs.close()
    times: list[float] = []
    before = 0.0
    try:
        ours.recv()
        time.sleep(1 + options.readers / 1000)
        # What is done only once is not counted: the first message.
        for number in range(options.appends + 1):
            if number == 1:
                times.clear()
                before = cpu_seconds(running.service)
            began = time.perf_counter()
            send(running.port, kind.method, kind.path, message(kind, number))
            if ours.recv() != number + 1:
                raise SystemExit("the readers are out of step")
            times.append(time.perf_counter() - began)
        # What is left to do after the last answer counts.
        time.sleep(0.3)
        cpu = cpu_seconds(running.service) - before
    finally:
        process.kill()
        process.join()
    deliveries = options.readers * options.appends
    return Figures(cpu / deliveries, statistics.median(times), max(times))


def row(name: str, figures: Figures, baseline: Figures) -> list[str]:
    return [
        name,
        f"{figures.cpu * 1e6:.0f} us",
        f"{figures.cpu / baseline.cpu:.2f}",
        f"{figures.median * 1e3:.0f}, {figures.last * 1e3:.0f} ms",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure live readers of a stream.")
    add = parser.add_argument
    add("--readers", type=int, default=2000)
    add("--appends", type=int, default=100)
    add("--slock-binary", metavar="PATH")
    add_results_option(parser)
    options = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    head = ["", "CPU per delivery", "ratio", "append to last reader: median, longest"]
    table = Table(head, name_width=26)
    found: dict[str, Figures] = {}
    with ExitStack() as stack:
        running = stack.enter_context(servers(options.slock_binary, **NO_LIMITS))
        send(running.port, "PUT", STREAM)
        for kind in KINDS:
            found[kind.name] = measure(running, kind, options)
            table.add(row(kind.name, found[kind.name], found[BASELINE]))
    note = f"{options.readers:,} readers got {options.appends} of {options.appends}."
    print(note)
    save(options, "streams", {"readers": table}, notes={"all": note})


if __name__ == "__main__":
    main()
