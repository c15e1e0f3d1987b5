"""Compare ``triopoll serve`` with nginx and Lua, on the same slock server.

    python bench/openresty.py --slock HOST:PORT --lua DIRECTORY [--waiters 5000]

One worker each, one after the other in the same run, repeated (``--rounds``). The
baseline is the OpenResty configuration that triopoll replaces: nginx with its Lua
module and a Lua client of slock, ``slock.lua`` in the given directory. wrk sends the
requests. Debian has everything except that client: ``nginx-light libnginx-mod-http-lua
lua-cjson wrk``.

- *requests/s*: ``/poll/event`` on an event that is set, 50 connections, by wrk.
- *CPU*: CPU time of the serving process for one of these requests. Other load on the
  machine affects it less than the rate.
- *KB/poll*: resident memory that each parked poll adds, for the first 1,000 and for
  all.
- *wake all*: from setting one event to the last byte of the last answer.

Wake times include this process, which reads the answers from one epoll set.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import select
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from poll import HOST, free_port, request, resident, wait_until_up
from results import Figure, add_results_option, save

FEW_WAITERS = 1000
OPENRESTY = "nginx with Lua"

# Of every nginx here, from its modules to what its `http` block serves.
NGINX_HEAD = """\
daemon off;
worker_processes 1;
pid {folder}/pid;
error_log {folder}/error.log error;
worker_rlimit_nofile 65536;
events {{ worker_connections 32768; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
"""

NGINX = (
    """
load_module modules/ndk_http_module.so;
load_module modules/ngx_http_lua_module.so;
"""
    + NGINX_HEAD
    + """\
    keepalive_requests 1000000000;
    lua_package_path "{lua}/?.lua;;";
    init_worker_by_lua_block {{
        require("slock"):connect("bench", "{slock_host}", {slock_port})
    }}
    server {{
        listen {host}:{port} backlog=4096;
        default_type application/json;
        location = /poll/event {{
            content_by_lua_block {{
                local cjson = require("cjson")
                local args = ngx.req.get_uri_args()
                local key = args.event or ""
                local seconds = tonumber(args.timeout) or 60
                local code, message = 0, "succed"
                if key == "" then
                    code, message = 400, "event key is empty"
                else
                    local client = require("slock"):get("bench")
                    local event = client:newDefaultClearEvent(key, 5, seconds * 2)
                    if not event:wait(seconds) then
                        code, message = 504, "wait event timeout"
                    end
                end
                ngx.say(cjson.encode({{err_code = code, err_message = message}}))
            }}
        }}
    }}
}}
"""
)


class Figures(NamedTuple):
    """The results of one service in one round."""

    rate: float
    cpu: float
    small_kilobytes: float
    kilobytes: float
    wake: float


@contextmanager
def nginx(slock: tuple[str, int], lua: Path) -> Iterator[tuple[int, int]]:
    """Run the OpenResty configuration; yield its port and its serving process."""
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        Path(folder).chmod(0o755)
        config = Path(folder) / "nginx.conf"
        config.write_text(
            NGINX.format(
                folder=folder,
                lua=lua.absolute(),
                host=HOST,
                port=port,
                slock_host=slock[0],
                slock_port=slock[1],
            )
        )
        command = ["nginx", "-e", f"{folder}/error.log", "-c", str(config)]
        with running(["nginx", *command[1:], "-p", "/usr/share/nginx"], {}) as pid:
            wait_until_up(port)
            yield port, child_of(pid)


@contextmanager
def triopoll(slock: tuple[str, int]) -> Iterator[tuple[int, int]]:
    """Run the service; yield its port and its serving process."""
    port = free_port()
    command = [sys.executable, "-m", "triopoll", "serve", "--bind", f"{HOST}:{port}"]
    environ = {
        "TRIOPOLL_SLOCK_URL": f"slock://{slock[0]}:{slock[1]}",
        "TRIOPOLL_MAX_WAITS": "32768",
    }
    with running(command, environ) as pid:
        wait_until_up(port)
        yield port, pid


@contextmanager
def running(command: Sequence[str], environ: dict[str, str]) -> Iterator[int]:
    process = subprocess.Popen(
        command,
        env={**os.environ, **environ},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield process.pid
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def child_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


def set_event(slock: tuple[str, int], key: str, seconds: int) -> None:
    """Set an event that is clear by default, as redis-cli does."""
    words = f"lock {key} lock_id {key} flag 2 timeout 5 expried {seconds} count 2"
    parts = [part.encode() for part in words.split()]
    data = b"*%d\r\n" % len(parts)
    data += b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)
    with socket.create_connection(slock, 5) as sock:
        sock.sendall(data)
        if not sock.recv(4096).startswith(b"*"):
            raise SystemExit("slock did not set the event")


def requests_a_second(port: int, path: str, seconds: int) -> float:
    url = f"http://{HOST}:{port}{path}"
    command = ["wrk", "-t1", "-c50", f"-d{seconds}", url]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in said or "Socket errors" in said:
        raise SystemExit(said)
    found = re.search(r"Requests/sec:\s*([0-9.]+)", said)
    assert found is not None
    return float(found[1])


def park(stack: ExitStack, port: int, target: str, count: int) -> list[socket.socket]:
    """Send that many polls, each on its own connection."""
    data = request(target)
    socks: list[socket.socket] = []
    for _ in range(count):
        sock = stack.enter_context(socket.create_connection((HOST, port), 10))
        sock.sendall(data)
        socks.append(sock)
    # The polls are parked when the server is idle.
    time.sleep(1 + count / 2000)
    return socks


def wake(slock: tuple[str, int], key: str, socks: Sequence[socket.socket]) -> float:
    """Set the event; return the seconds until every answer has arrived."""
    waiting = {sock.fileno(): sock for sock in socks}
    with select.epoll() as readable:
        for descriptor in waiting:
            readable.register(descriptor, select.EPOLLIN)
        if readable.poll(0):
            raise SystemExit("a poll was answered before the event was set")
        started_at = time.perf_counter()
        set_event(slock, key, 30)
        while waiting:
            for descriptor, _ in readable.poll(10):
                if b'"err_code":0' in waiting[descriptor].recv(4096):
                    readable.unregister(descriptor)
                    del waiting[descriptor]
        return time.perf_counter() - started_at


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(
    port: int, pid: int, slock: tuple[str, int], options: argparse.Namespace
) -> Figures:
    key = f"waiters-{pid}"
    target = f"/poll/event?event={key}&timeout=120"
    with ExitStack() as stack:
        empty = resident(pid)
        socks = park(stack, port, target, FEW_WAITERS)
        small = (resident(pid) - empty) / FEW_WAITERS / 1024
        socks += park(stack, port, target, options.waiters - FEW_WAITERS)
        kilobytes = (resident(pid) - empty) / options.waiters / 1024
        seconds = wake(slock, key, socks)
    set_event(slock, "bench-set", 600)
    before = cpu_seconds(pid)
    rate = requests_a_second(port, "/poll/event?event=bench-set", options.seconds)
    cpu = (cpu_seconds(pid) - before) / (rate * options.seconds)
    return Figures(rate, cpu, small, kilobytes, seconds)


def show(name: str, rounds: Sequence[Figures], baseline: Figures) -> Figures:
    middle = Figures(*(statistics.median(each) for each in zip(*rounds, strict=True)))
    row = f"{name:<16}{middle.rate:>8,.0f}/s{middle.rate / baseline.rate:>6.2f}"
    row += f"{middle.cpu * 1e6:>7.0f} us{middle.cpu / baseline.cpu:>6.2f}"
    row += f"{middle.small_kilobytes:>7.1f}{middle.kilobytes:>7.1f}"
    row += f"{middle.kilobytes / baseline.kilobytes:>6.2f}"
    print(f"{row}{middle.wake * 1000:>8.0f} ms{middle.wake / baseline.wake:>6.2f}")
    return middle


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare the service with OpenResty.")
    parser.add_argument("--slock", metavar="HOST:PORT", required=True)
    parser.add_argument(
        "--lua", type=Path, required=True, help="directory of slock.lua"
    )
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--waiters", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    add_results_option(parser)
    options = parser.parse_args()
    host, port = options.slock.rsplit(":", 1)
    slock = (host, int(port))
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    openresty: list[Figures] = []
    ours: list[Figures] = []
    for _ in range(options.rounds):
        with nginx(slock, options.lua) as (http_port, pid):
            openresty.append(measure(http_port, pid, slock, options))
        with triopoll(slock) as (http_port, pid):
            ours.append(measure(http_port, pid, slock, options))
    print(f"{'':<16}{'requests':>10}{'ratio':>6}{'CPU':>10}{'ratio':>6}", end="")
    print(f"{'KB/poll':>14}{'ratio':>6}{'wake all':>11}{'ratio':>6}")
    baseline = Figures(
        *(statistics.median(each) for each in zip(*openresty, strict=True))
    )
    theirs = show(OPENRESTY, openresty, baseline)
    mine = show("triopoll serve", ours, baseline)
    titles = {
        "requests/s on a set event, one worker": lambda each: each.rate,
        f"KB of memory per parked poll, {options.waiters:,} parked": lambda each: (
            each.kilobytes
        ),
        f"ms until the last of {options.waiters:,} is answered": lambda each: (
            1e3 * each.wake
        ),
    }
    figures = [
        Figure(
            f"{title} (bench/openresty.py)",
            {OPENRESTY: round(of(theirs), 1), "triopoll serve": round(of(mine), 1)},
        )
        for title, of in titles.items()
    ]
    save(options, "openresty", figures=figures)


if __name__ == "__main__":
    main()
