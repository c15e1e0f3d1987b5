"""Compare the service with what a user would write or install instead, in one run.

    python bench/peers.py [--slock HOST:PORT] [--lua DIRECTORY] [--waiters 5000]

Many polls wait for one key, which is then published: one worker each, one service after
the other, repeated (``--rounds``). The baseline is a long poll on Redis, written by
hand with aiohttp (``bench/peers/aiohttp_service.py``); the same is there with Starlette
on uvicorn. They lose what is published while nobody waits, or while they restart. Where
Debian's ``libnginx-mod-nchan`` is installed, nchan runs too, and nginx with Lua where
its slock client is given (see ``openresty.py``).

- *KB/poll*: resident memory that each parked poll adds.
- *median*, *last*: from the publishing to the answer of the median poll, and of the
  last one. This process reads the answers from one epoll set.
- *CPU*: CPU time of the serving process for each poll that is answered.

Needs ``redis-server``, and the dependency group ``bench``. ``--results FILE`` writes
the figures into the file that ``plot.py`` draws.
"""

from __future__ import annotations

import argparse
import json
import resource
import select
import socket
import statistics
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import redis
from openresty import NGINX_HEAD, child_of, cpu_seconds, nginx, set_event
from parked import running, wait_until_open
from poll import HOST, free_port, request, resident
from results import Figure, Table, add_results_option, save

PEERS = Path(__file__).parent / "peers"
NCHAN = Path("/usr/lib/nginx/modules/ngx_nchan_module.so")
BASELINE = "aiohttp and Redis"
WARM_UP = 100

NCHAN_CONFIG = (
    """
load_module {module};
"""
    + NGINX_HEAD
    + """\
    server {{
        listen {host}:{port} backlog=4096;
        location ~ ^/wait/(\\w+)$ {{
            nchan_subscriber longpoll;
            nchan_channel_id $1;
            nchan_subscriber_first_message newest;
        }}
        location ~ ^/publish/(\\w+)$ {{
            nchan_publisher;
            nchan_channel_id $1;
        }}
    }}
}}
"""
)


class Service(NamedTuple):
    """A service that runs.

    Attributes:
        port: Where it listens.
        pid: Its serving process.
        target: What a poll of a key requests; `{}` is the key.
        publish: Publishes a message to a key.
        answered: What is in the answer of a poll that was woken.
    """

    port: int
    pid: int
    target: str
    publish: Callable[[str], object]
    answered: bytes = b"hello"


class Backends(NamedTuple):
    """Where the services find Redis and slock."""

    redis_port: int
    slock: tuple[str, int]


class Figures(NamedTuple):
    """The results of one service in one round."""

    kilobytes: float
    median: float
    last: float
    cpu: float


def post(port: int, path: str, body: bytes) -> None:
    url = f"http://{HOST}:{port}{path}"
    headers = {"Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(url, body, headers)) as answer:
        answer.read()


def publish_by_redis(port: int, key: str) -> None:
    with redis.Redis(port=port) as client:
        client.publish(f"poll:{key}", "hello")


def publish_by_v1(port: int, key: str) -> None:
    body = json.dumps({"key": key, "data": "hello"}).encode()
    post(port, "/v1/publish", body)


@contextmanager
def hand_written(backends: Backends, *command: str) -> Iterator[Service]:
    port = free_port()
    ports = {"PORT": str(port), "REDIS_PORT": str(backends.redis_port)}
    words = [word.format(port=port) for word in command]
    with running([sys.executable, *words], port, **ports) as pid:
        publish = partial(publish_by_redis, backends.redis_port)
        yield Service(port, pid, "/poll/message?event={}&timeout=120", publish)


@contextmanager
def triopoll(backends: Backends, target: str, *, by_event: bool) -> Iterator[Service]:
    port = free_port()
    command = [sys.executable, "-m", "triopoll", "serve", "--bind", f"{HOST}:{port}"]
    host, slock_port = backends.slock
    settings = {
        "TRIOPOLL_SLOCK_URL": f"slock://{host}:{slock_port}",
        "TRIOPOLL_REDIS_URL": f"redis://{HOST}:{backends.redis_port}",
        "TRIOPOLL_MAX_WAITS": "32768",
    }
    with running(command, port, **settings) as pid:
        if by_event:
            set_it = partial(set_event, backends.slock, seconds=30)
            yield Service(port, pid, target, set_it, b'"err_code":0')
        else:
            yield Service(port, pid, target, partial(publish_by_v1, port))


@contextmanager
def nchan(_: Backends) -> Iterator[Service]:
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        # Its worker is another user.
        Path(folder).chmod(0o777)
        config = Path(folder) / "nginx.conf"
        values = {"module": NCHAN, "folder": folder, "host": HOST, "port": port}
        config.write_text(NCHAN_CONFIG.format(**values))
        command = ["nginx", "-e", f"{folder}/error.log", "-c", str(config)]
        with running(command, port) as pid:

            def publish(key: str) -> None:
                post(port, f"/publish/{key}", b"hello")

            yield Service(port, child_of(pid), "/wait/{}", publish)


@contextmanager
def openresty(lua: Path, backends: Backends) -> Iterator[Service]:
    with nginx(backends.slock, lua) as (port, pid):
        set_it = partial(set_event, backends.slock, seconds=30)
        target = "/poll/event?event={}&timeout=120"
        yield Service(port, pid, target, set_it, b'"err_code":0')


def measure(service: Service, count: int) -> Figures:
    key = f"k{time.time_ns()}"
    data = request(service.target.format(key))
    with ExitStack() as stack, select.epoll() as readable:
        empty = resident(service.pid)
        waiting: dict[int, socket.socket] = {}
        for _ in range(count):
            sock = stack.enter_context(
                socket.create_connection((HOST, service.port), 30)
            )
            sock.sendall(data)
            waiting[sock.fileno()] = sock
            readable.register(sock.fileno(), select.EPOLLIN)
        # The polls are parked when the service is idle.
        time.sleep(3 + count / 1000)
        kilobytes = (resident(service.pid) - empty) / count / 1024
        if early := readable.poll(0):
            answer = waiting[early[0][0]].recv(8192)
            raise SystemExit(f"a poll was answered before the publish: {answer!r}")
        before = cpu_seconds(service.pid)
        began = time.perf_counter()
        service.publish(key)
        times: list[float] = []
        answers: dict[int, bytes] = dict.fromkeys(waiting, b"")
        while waiting:
            for descriptor, _ in readable.poll(30):
                more = waiting[descriptor].recv(8192)
                answers[descriptor] += more
                if service.answered in answers[descriptor]:
                    times.append(time.perf_counter() - began)
                    readable.unregister(descriptor)
                    del waiting[descriptor]
                elif not more:
                    raise SystemExit(f"a poll was lost: {answers[descriptor]!r}")
        # What is left to do after the last answer counts.
        time.sleep(0.3)
        cpu = (cpu_seconds(service.pid) - before) / count
    return Figures(kilobytes, statistics.median(times), times[-1], cpu)


def show(results: dict[str, Figures]) -> Table:
    baseline = results[BASELINE]
    table = Table(["", "KB/poll", "median", "last", "CPU", "ratio"], name_width=30)
    for name, figures in results.items():
        table.add(
            [
                name,
                f"{figures.kilobytes:.1f}",
                f"{figures.median * 1e3:.0f} ms",
                f"{figures.last * 1e3:.0f} ms",
                f"{figures.cpu * 1e6:.0f} us",
                f"{figures.cpu / baseline.cpu:.2f}",
            ]
        )
    return table


def figures_of(results: dict[str, Figures], count: int) -> list[Figure]:
    """Return what is drawn: the CPU time and the last answer."""
    cpu = {name: round(1e6 * each.cpu) for name, each in results.items()}
    last = {name: round(1e3 * each.last) for name, each in results.items()}
    title = f"us of CPU for each of {count:,} polls that one publish wakes"
    return [
        Figure(f"{title} (bench/peers.py)", cpu),
        Figure(
            f"ms until the last of {count:,} polls is answered (bench/peers.py)", last
        ),
    ]


@contextmanager
def open_backends(slock: str | None) -> Iterator[Backends]:
    """Start Redis, and the embedded slock server unless the address of one is given."""
    redis_port, slock_port = free_port(), free_port()
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        command = ["redis-server", "--port", str(redis_port), "--save", ""]
        command += ["--bind", HOST, "--dir", folder]
        stack.enter_context(running(command, redis_port))
        if slock is None:
            serve = [sys.executable, "-m", "trioslock", "serve"]
            serve += ["--port", str(slock_port)]
            stack.enter_context(running(serve, slock_port))
            slock = f"{HOST}:{slock_port}"
        host, port = slock.rsplit(":", 1)
        wait_until_open(int(port))
        yield Backends(redis_port, (host, int(port)))


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare the service with its peers.")
    add = parser.add_argument
    add("--slock", metavar="HOST:PORT", help="a real slock server")
    add("--lua", type=Path, metavar="DIRECTORY", help="directory of slock.lua")
    add("--waiters", type=int, default=5000)
    add("--rounds", type=int, default=3)
    add_results_option(parser)
    options = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    star = ("-m", "uvicorn", "--app-dir", str(PEERS), "starlette_service:app")
    star += ("--port", "{port}", "--backlog", "4096", "--log-level", "error")
    by_event, by_key = "/poll/event?event={}&timeout=120", "/v1/messages?key={}"
    services = {
        BASELINE: lambda ends: hand_written(ends, str(PEERS / "aiohttp_service.py")),
        "Starlette and Redis, uvicorn": lambda ends: hand_written(ends, *star),
        "triopoll /poll/event": partial(triopoll, target=by_event, by_event=True),
        "triopoll /v1/messages": partial(
            triopoll, target=f"{by_key}&cursor=new&timeout=55", by_event=False
        ),
    }
    if NCHAN.exists():
        services["nchan"] = nchan
    if options.lua is not None:
        services["nginx with Lua"] = partial(openresty, options.lua)
    rounds: dict[str, list[Figures]] = {name: [] for name in services}
    with open_backends(options.slock) as backends:
        for _ in range(options.rounds):
            for name, service in services.items():
                with service(backends) as running_service:
                    # What a service does only once is not counted.
                    measure(running_service, WARM_UP)
                    rounds[name].append(measure(running_service, options.waiters))
    results = {
        name: Figures(*map(statistics.median, zip(*figures, strict=True)))
        for name, figures in rounds.items()
    }
    table = show(results)
    save(options, "peers", {"peers": table}, figures_of(results, options.waiters))


if __name__ == "__main__":
    main()
